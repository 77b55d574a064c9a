"""What a run knows beside what its hosts measure: figures of its policy and of the machine, by name."""

from collections.abc import Callable, Sequence
from math import log, nan
from pathlib import Path
from statistics import fmean
from time import time

import psutil
import torch
from attrs import define, field, frozen

from esper_core.leyline.learning import Explanation

#: The share of the machine's memory, of its processors, and of the device's own memory that is in use, 0 to 1.
MEMORY, PROCESSORS, DEVICE_MEMORY = "memory share", "processor share", "device memory share"

#: How long the policy took for its last decision, all hosts together.
DECISION = "decision seconds"

#: How evenly it chose among what was possible, 0 to 1; and how far its values were off, in the reward's unit.
ENTROPY, VALUE_ERROR = "policy entropy", "value error"

#: How long ago the files of the saved policy were written.
AGE = "policy age hours"

#: How many errors of values are remembered.
_ERRORS = 20


@define
class PolicyFigures:
    """What a policy has shown of itself on one host.

    Attributes:
        gamma: the run's discount, 0 to 1.
        entropy: of its last choice between several actions; None: it had none, or does not say what it thinks.
        value: what it expected before the present epoch; None if it does not say.
        reward: of the last epoch.
        errors: of its last values, each of one step: ``|reward + gamma * next value - value|``.
    """

    gamma: float
    entropy: float | None = None
    value: float | None = None
    reward: float | None = None
    errors: list[float] = field(factory=list)

    def thinks(self, explanation: Explanation | None) -> None:
        """Take in what it thinks before it decides."""
        self.entropy = None if explanation is None else entropy([it.probability for it in explanation.choices])
        value = None if explanation is None else explanation.value
        if self.value is not None and self.reward is not None and value is not None:
            self.errors = [*self.errors, abs(self.reward + self.gamma * value - self.value)][-_ERRORS:]
        self.value, self.reward = value, None

    def forget(self) -> None:
        """A trajectory has ended: the next value has nothing to do with the last one."""
        self.value = self.reward = None

    def by_name(self) -> dict[str, float]:
        """Return what is known."""
        error = fmean(self.errors) if self.errors else None
        known = {ENTROPY: self.entropy, VALUE_ERROR: error}
        return {name: value for name, value in known.items() if value is not None}


def entropy(probabilities: Sequence[float]) -> float | None:
    """Return the entropy of a choice over that of an even one, 0 to 1; None where there is nothing to choose.

    NaN if the probabilities are none.
    """
    if len(probabilities) < 2:
        return None
    if not all(0.0 <= it <= 1.0 + 1e-6 for it in probabilities):
        return nan
    return -sum(it * log(it) for it in probabilities if it > 0.0) / log(len(probabilities))


@frozen
class MachineFigures:
    """What the machine is like; the use of processors is that since the last time that it was asked for.

    Attributes:
        device: that hosts are trained on, as a configuration names it.
        saved: the tensors of the policy that the run has begun with; None: it began with none.
        now: seconds since 1970.
    """

    device: str
    saved: Path | None = None
    now: Callable[[], float] = time

    def by_name(self) -> dict[str, float]:
        """Return what is known."""
        memory = psutil.virtual_memory()
        known = {MEMORY: 1.0 - memory.available / memory.total, PROCESSORS: psutil.cpu_percent() / 100.0}
        if self.device.startswith("cuda"):
            free, total = torch.cuda.mem_get_info(self.device)
            known[DEVICE_MEMORY] = 1.0 - free / total
        if self.saved is not None and self.saved.is_file():
            known[AGE] = (self.now() - self.saved.stat().st_mtime) / 3600.0
        return known
