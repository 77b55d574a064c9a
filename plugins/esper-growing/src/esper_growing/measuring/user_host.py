"""A growing host that somebody else trains: it measures, judges and reports; the user's loop does the rest."""

from collections.abc import Callable
from math import isfinite
from time import perf_counter

import torch

from esper_core.leyline.actions import Action
from esper_core.leyline.diagnostics import Finding, NetworkView
from esper_core.leyline.evidence import UNKNOWN_COMPUTE, EpochMetrics, Evidence
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.tolaria.data import part
from esper_core.tolaria.evidence import CollectedEvidence
from esper_core.tolaria.grower import Grower
from esper_core.tolaria.measuring import measure
from esper_growing.following.surroundings import tell_where_saved_without_growth
from esper_growing.measuring.isolation import prove_isolation
from esper_growing.measuring.measured_data import LOOKED_AT, Measurable, MeasuredData
from esper_growing.measuring.sample_accuracy import Metric
from esper_growing.measuring.sample_loss import Loss
from esper_growing.measuring.user_data import Batches

#: Metrics of a split that nothing was measured on.
UNMEASURED = EpochMetrics(loss=float("nan"), accuracy=float("nan"), samples=0)


class UserHost:
    """The user's network as an executor's host: `epoch` ends an epoch that the user has trained.

    Args:
        grower: its growing part.
        epochs: length of the training.
        look: lets diagnostics look into the network after an epoch.

    Attributes:
        measured: what was found out about validation data, loss and metric.
        unproved: why it is not known whether seeds in training leave the host alone; "" where it is.
        broken: tensors of the validation data that hold NaN or infinity, looked for where the loss is not finite.
        train_seconds: wall time from the beginning of each epoch to its `measure`: what the user does in it counts.
    """

    def __init__(
        self, grower: Grower, epochs: int, look: Callable[[NetworkView], tuple[Finding, ...]] = lambda view: ()
    ) -> None:
        self.grower = grower
        self._look = look
        grower.compute = UNKNOWN_COMPUTE
        tell_where_saved_without_growth(grower.growth.slot_set.model)
        self.train_seconds = 0.0
        self.measure_seconds = 0.0
        self.measured = MeasuredData()
        self.unproved = ""
        self.broken = ""
        self._epochs = epochs
        self._began = perf_counter()
        self._evidence: Evidence | None = None
        self._test = UNMEASURED

    def report(self) -> HostReport:
        """Return how it stands and what came of the epoch that has just run."""
        return self.grower.report()

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        return self.grower.apply(action)

    def begin_epoch(self) -> None:
        """Let time pass; the user trains next."""
        self._began = perf_counter()
        self.grower.tick()

    def measure(
        self,
        validation: Batches | None,
        loss: Loss | None,
        metric: Metric | None,
        *,
        train_loss: float | None,
        train_accuracy: float | None,
    ) -> None:
        """Take in how the training went, and measure on validation data; see `GrowthHandle.epoch_end`.

        Raises:
            EsperError: E302 for data that cannot be measured on.
        """
        began = perf_counter()
        self.train_seconds += began - self._began
        self.grower.findings = ()
        if validation is None or loss is None:
            collected = CollectedEvidence(metrics=UNMEASURED, seeds=self.grower.growth.evidence(self.grower.epoch))
        else:
            held = self.measured.prepare(self.grower, validation, loss, metric)
            self.unproved = prove_isolation(self.grower, held)
            collected = self.grower.collect(
                held.criterion, held.samples, last=self.grower.epoch + 1 == self._epochs, batch_size=held.batch_size
            )
            self.grower.findings = self._look(self._view(held))
            self.broken = "" if isfinite(collected.metrics.loss) else held.broken()
        train = EpochMetrics(
            loss=_or_nan(train_loss),
            accuracy=_or_nan(train_accuracy),
            samples=0 if train_loss is None else collected.metrics.samples,
            seconds=began - self._began,
        )
        self._evidence = self.grower.evidence(train, collected)
        self.measure_seconds += perf_counter() - began

    def _view(self, held: Measurable) -> NetworkView:
        """The network and the first batch of the validation data, as diagnostics are shown them."""
        inputs, targets = held.samples.batches[0]
        shown = held.batch_size or LOOKED_AT
        return NetworkView(
            host=self.grower.name,
            epoch=self.grower.epoch,
            model=self.grower.growth.slot_set.model,
            slots=self.grower.growth.states(self.grower.epoch),
            inputs=part(inputs, 0, shown),
            targets=targets[:shown],
            criterion=held.criterion,
        )

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """End the epoch that was measured last. There is no twin in a loop of the user's own."""
        assert self._evidence is not None, "the epoch was measured"
        return self.grower.conclude(self._evidence)

    def test(self, batches: Batches, loss: Loss, metric: Metric | None) -> None:
        """Measure the test split, for the final report. Raises EsperError E302."""
        held = self.measured.prepare(self.grower, batches, loss, metric)
        self._test = measure(
            self.grower.growth.slot_set,
            held.criterion,
            held.samples,
            batch_size=held.batch_size,
            forks=self.grower.forks,
        ).metrics

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter(self.grower.growth.slot_set.host_parameters)).device

    def finish(self) -> FinalReport:
        """Sum it up."""
        return self.grower.final_report(
            self._test, forward_flops=None, train_seconds=self.train_seconds, measure_seconds=self.measure_seconds
        )

    def capture(self) -> HostState:
        """Return its state without tensors, which the user saves with the model and the optimizer."""
        seconds = {"train_seconds": self.train_seconds, "measure_seconds": self.measure_seconds}
        gradients = self.grower.gradients.record()
        return HostState(tensors={}, record={**self.grower.record(), **seconds, "gradients": gradients})

    def restore(self, state: HostState) -> None:
        """Bring it to a captured state. Raises EsperError E502 if the state does not fit it."""
        self.grower.restore(state.record)
        self.grower.gradients.go_on(state.record["gradients"])
        self.train_seconds, self.measure_seconds = state.record["train_seconds"], state.record["measure_seconds"]
        self._began = perf_counter()


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
