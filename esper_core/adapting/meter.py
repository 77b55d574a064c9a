"""How training goes in a loop that is somebody else's: loss and accuracy over an epoch."""

from math import isnan
from typing import Any, Protocol

import torch
from attrs import define
from torch import Tensor

from esper_core.leyline.protocols import Criterion


class CountingCriterion(Criterion, Protocol):
    """A criterion that leaves samples out which have nothing to be predicted."""

    def countable(self, targets: Tensor) -> Tensor:
        """Return which samples count, (B,) of bool."""
        ...


@define
class TrainingMeter:
    """Sums losses and hits of training samples on their device; nothing is synchronised until they are read.

    Attributes:
        criterion: loss and metric of a sample.
    """

    criterion: CountingCriterion
    _sums: Tensor | None = None

    def add(self, outputs: Any, targets: Tensor) -> None:
        """Take in what the network made of a batch."""
        with torch.no_grad():
            losses = self.criterion.losses(outputs, targets)
            hits = self.criterion.correct(outputs, targets)
            counted = self.criterion.countable(targets)
            sums = torch.stack([one.double().where(counted, 0.0).sum() for one in (losses, hits)])
            sums = torch.cat([sums, counted.sum(dtype=torch.float64)[None]])
        self._sums = sums if self._sums is None else self._sums + sums

    def read(self) -> tuple[float | None, float | None]:
        """Return mean loss and accuracy since the last time, None for what is not known, and start again."""
        sums, self._sums = self._sums, None
        if sums is None or not sums[2]:
            return None, None
        loss, accuracy = (sums[:2] / sums[2]).tolist()
        return loss, None if isnan(accuracy) else accuracy
