"""What remains: field reports of seeds, reward breakdowns, saved host states."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from esper_core.leyline.actions import ActionMasks, GovernorMode, Transition, Verdict
from esper_core.leyline.diagnostics import Finding
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import UNKNOWN_COMPUTE, Compute, EpochMetrics, Evidence, PairedDifference
from esper_core.leyline.observation import SlotState
from esper_core.leyline.stages import Stage


@frozen(kw_only=True)
class FieldReport:
    """The life of one seed, summed up when it ends: culled, fossilized, or still live at the run's end.

    Attributes:
        slot, seed_id, blueprint, parameters: what it was.
        germinated_epoch: the epoch before which it was germinated.
        ended_epoch: the epoch before which it was culled or fossilized; None if still live.
        final_stage: CULLED, FOSSILIZED, or the live stage at the run's end.
        epochs_by_stage: epochs spent in each stage.
        reason: why it ended.
        accuracy_at_germination, accuracy_at_end: validation accuracy of the network, 0 to 1.
        ablation: loss without the seed minus loss with it, last measured: how much the network depends on it.
        gain: the twin's loss minus the network's loss when the seed ended: what the network as a whole has gained.
    """

    slot: str
    seed_id: str
    blueprint: str
    parameters: int
    germinated_epoch: int
    ended_epoch: int | None
    final_stage: Stage
    epochs_by_stage: Mapping[str, int]
    reason: str = ""
    accuracy_at_germination: float | None = None
    accuracy_at_end: float | None = None
    ablation: PairedDifference | None = None
    gain: PairedDifference | None = None


@frozen(kw_only=True)
class RewardBreakdown:
    """The reward of one step: named terms that sum to the total."""

    terms: Mapping[str, float]

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


@frozen(kw_only=True)
class HostState:
    """Everything that a growing host is: tensors by name, and plain data (topology, cursors, histories).

    `record` holds primitives, lists and dicts with string keys only. `version` is that of this format.
    """

    tensors: Mapping[str, Any]
    record: Mapping[str, Any]
    version: int = field(default=1)


@frozen(kw_only=True)
class ApplyReport:
    """What came of an action: the governor's verdict and the transitions that the action made."""

    verdict: Verdict
    transitions: tuple[Transition, ...] = ()


@frozen(kw_only=True)
class Rollback:
    """A host's return to an earlier state of its own, whose epochs since then are lost.

    The count of epochs does not go back: it says which epoch of the run this is.

    Attributes:
        attempt: the attempt that begins, from 1: all random streams of the host are others in it.
        from_epoch: the epoch that went wrong, from 0; the host is rolled back at its end.
        to_epoch: the epoch after which the host was as it is again.
        reason: what went wrong, in words.
    """

    attempt: int
    from_epoch: int
    to_epoch: int
    reason: str


@frozen(kw_only=True)
class HostReport:
    """One growing host after an epoch, or before its first one.

    Attributes:
        host: its name in the run.
        epoch: the next epoch, from 0.
        states: its slots as they stand before that epoch, in site order.
        masks: what is possible before that epoch.
        governor: the governor's mode.
        governor_reason: why it is not normal.
        evidence: measured in the epoch that has just ended; None before the first.
        transitions: what happened by itself before that epoch was trained.
        findings: of diagnostics, about the network after that epoch.
        notices: what a person should know of how that epoch was computed, and of the process that it was computed in;
            and events of kinds that plugins have registered, without host and epoch.
        seed_reports: of the seeds that have ended since the last report.
        parameters: number of parameters, seeds included.
        host_parameters: number of the host's own parameters.
        rollback: how the host was rolled back at the end of the epoch that has just run; None if it was not. The
            evidence is that of the network that was given up; everything else is as it is since.
        failure: why the host has failed; None of one that has not. A failed host is stopped and has no evidence.
        cause: what it raised, in the process in which it was raised.
        budget_share: how much of its budget of floating-point operations it has spent, from 0; its training is over
            from 1 on. None without a budget, and where its operations cannot be counted.
    """

    host: str
    epoch: int
    states: tuple[SlotState, ...]
    masks: ActionMasks
    governor: GovernorMode = GovernorMode.NORMAL
    governor_reason: str = ""
    evidence: Evidence | None = None
    transitions: tuple[Transition, ...] = ()
    findings: tuple[Finding, ...] = ()
    notices: tuple[str | Event, ...] = ()
    seed_reports: tuple[FieldReport, ...] = ()
    parameters: int = 0
    host_parameters: int = 0
    rollback: Rollback | None = None
    failure: str | None = None
    cause: Exception | None = field(default=None, eq=False, repr=False)
    budget_share: float | None = None

    @property
    def through(self) -> bool:
        """It is stopped, or has spent its budget."""
        return self.governor is GovernorMode.STOPPED or (self.budget_share or 0.0) >= 1.0


@frozen(kw_only=True)
class FinalReport:
    """One host at the end of a run.

    Attributes:
        host: its name in the run.
        epochs: epochs trained.
        test: metrics on the test split, which nothing else ever sees.
        parameters, host_parameters: as in `Evidence`.
        forward_flops: of one sample's forward pass, seeds included; None where it cannot be counted.
        compute: floating-point operations of the host in all, without the test split's.
        train_seconds: wall time of training alone.
        measure_seconds: wall time of validation and counterfactuals.
        seeds: every seed that ever lived, oldest first.
        topology: the sites with what has grown there.
        numerics: how it was computed, as plain data; empty: eagerly, in the precision of the weights.
        rollbacks: every time that the host was rolled back, oldest first.
        failure: why the host has failed; its figures are NaN then.
    """

    host: str
    epochs: int
    test: EpochMetrics
    parameters: int
    host_parameters: int
    forward_flops: int | None
    train_seconds: float
    measure_seconds: float
    compute: Compute = UNKNOWN_COMPUTE
    seeds: tuple[FieldReport, ...] = ()
    topology: tuple[Mapping[str, Any], ...] = ()
    numerics: Mapping[str, Any] = field(factory=dict)
    rollbacks: tuple[Rollback, ...] = ()
    failure: str | None = None
