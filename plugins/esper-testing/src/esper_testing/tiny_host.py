"""A host of a few numbers, with which executors are tried: everything that reaches it changes what it reports."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from esper_core.leyline.actions import Action, ActionMasks, Verdict
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.executors import Plan
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.leyline.streams import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

_MASKS = ActionMasks(slots=(), blueprints=(), germinate={}, cull=frozenset())


def tiny_plan(name: str, seed: int, **config: object) -> Plan:
    """Return the plan of a tiny host.

    Args:
        name, seed: as in `Plan`.
        config: `fails_in` is the call in which it raises, `fails_at` the epoch of that call, `process_file` a file in
            which it leaves the id of its process when it is built.
    """
    return Plan(name=name, seed=seed, config=config)


class TinyHost:
    """Adds random numbers to its weights in each epoch. What it is told goes into them.

    Raises:
        EsperError: E402 if its plan says that it fails in "build".
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._epoch = 0
        self._weights = self._draw("weights")
        self._asked: list[str] = []
        self._evidence: Evidence | None = None
        if file := plan.config.get("process_file"):
            Path(file).write_text(str(os.getpid()))
        self._fail_if_planned("build")

    def report(self) -> HostReport:
        """Return how it stands."""
        return HostReport(host=self._plan.name, epoch=self._epoch, states=(), masks=_MASKS, evidence=self._evidence)

    def apply(self, action: Action) -> ApplyReport:
        """Keep the action's id."""
        self._fail_if_planned("apply")
        self._asked.append(action.id)
        return ApplyReport(verdict=Verdict(action_id=action.id, allowed=True))

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Change the weights by what is drawn, by the actions, and by the reference."""
        told = len(self._asked) + (reference.validation.loss if reference is not None else 0.0)
        self._weights = 0.9 * self._weights + told * self._draw("epoch", self._epoch)
        self._fail_if_planned("epoch")
        loss = self._metrics()
        self._evidence = Evidence(host=self._plan.name, epoch=self._epoch, train=loss, validation=loss)
        self._epoch += 1
        return self.report()

    def finish(self) -> FinalReport:
        """Sum it up."""
        self._fail_if_planned("finish")
        return FinalReport(
            host=self._plan.name,
            epochs=self._epoch,
            test=self._metrics(),
            parameters=3,
            host_parameters=3,
            forward_flops=None,
            train_seconds=0.0,
            measure_seconds=0.0,
        )

    def capture(self) -> HostState:
        """Return its weights, the number of its epochs and what it was asked."""
        return HostState(
            tensors={"weights": self._weights.clone()}, record={"epoch": self._epoch, "asked": [*self._asked]}
        )

    def restore(self, state: HostState) -> None:
        """Bring it to a captured state. Raises EsperError E502 for other weights than three."""
        if state.tensors["weights"].shape != self._weights.shape:
            raise EsperError("E502", "the saved weights do not fit the host")
        self._weights = state.tensors["weights"].clone()
        self._epoch, self._asked, self._evidence = state.record["epoch"], [*state.record["asked"]], None

    def _metrics(self) -> EpochMetrics:
        return EpochMetrics(loss=float(self._weights.square().sum()), accuracy=0.5, samples=3)

    def _draw(self, *stream: str | int) -> "Tensor":
        # Imported here: to list the checks takes no torch.
        import torch

        return torch.randn(3, generator=torch.Generator().manual_seed(derive_seed(self._plan.seed, *stream)))

    def _fail_if_planned(self, call: str) -> None:
        if self._plan.config.get("fails_in") == call and self._plan.config.get("fails_at", 0) == self._epoch:
            if call == "build":
                raise EsperError("E402", f"the host cannot be built: {self._plan.name}")
            raise RuntimeError(f"planned to fail in {call}")
