"""What remains: field reports of seeds, reward breakdowns, saved host states."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from esper_core.leyline.evidence import PairedDifference
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
