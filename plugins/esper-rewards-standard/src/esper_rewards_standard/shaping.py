"""Shaping of single decisions. It is no potential: it changes what is optimal, on purpose."""

from collections.abc import Iterable

from esper_core.api import Cause, Op, SlotSignals, Stage, Step
from esper_rewards_standard.config import EarlyCullConfig, FossilizationConfig, WarningConfig
from esper_rewards_standard.measures import clamp, credit, surely


class Germination:
    """Minus the share of the round that is over, for each seed that is germinated: a late one has no time to pay."""

    def __init__(self, config: None) -> None: ...

    def value(self, step: Step) -> float:
        """Return the cost, -1 to 0."""
        germinated = sum(change.target is Stage.GERMINATED for change in step.transitions)
        return clamp(-germinated * clamp(step.epoch / max(1, step.epochs), 0.0, 1.0), -1.0, 0.0)


class Fossilization:
    """For keeping what contributes, as it was measured before the decision.

    A seed is worth `base` and more if both its contribution and the gain over the twin are positive, by the smaller of
    the two; one that contributes nothing, or is in a network that has gained nothing, costs as much. What was not
    measured is worth nothing.

    Args:
        config: its options.
    """

    def __init__(self, config: FossilizationConfig) -> None:
        self._config = config

    def value(self, step: Step) -> float:
        """Return the worth of what was fossilized, -1 to 1."""
        return clamp(sum(self._worth(step, slot) for slot in _ended(step, Stage.FOSSILIZED)))

    def _worth(self, step: Step, slot: SlotSignals) -> float:
        measured = slot.contribution
        earned = credit(step, measured.mean if measured is not None and measured.finite else None)
        if earned is None:
            return 0.0
        if earned <= 0.0:
            return -self._config.base
        return self._config.base + (1.0 - self._config.base) * min(1.0, earned / self._config.full_credit)


class Cull:
    """-1 for culling what makes the loss better with 95 % confidence.

    Culling a harmful seed earns nothing: the harm is charged while it lasts, and a reward for ending it would pay for
    germinating seeds in order to cull them.
    """

    def __init__(self, config: None) -> None: ...

    def value(self, step: Step) -> float:
        """Return the cost of the culls that the policy asked for, -1 to 0."""
        helpful = sum(surely(slot.contribution) > 0 for slot in _ended(step, Stage.CULLED))
        return clamp(-float(helpful), -1.0, 0.0)


class EarlyCull:
    """Against removing seeds before anything is known of them, and so against germinating and culling in turns.

    Args:
        config: its options.
    """

    def __init__(self, config: EarlyCullConfig) -> None:
        self._least = config.least_epochs

    def value(self, step: Step) -> float:
        """Return -1 where the policy has culled a young seed, else 0."""
        return -float(any(slot.state.age_epochs < self._least for slot in _ended(step, Stage.CULLED)))


class Warning:
    """Against letting things go on: a harmful seed that blends on, and one that may be fossilized and is not.

    Args:
        config: the prices of an epoch.
    """

    def __init__(self, config: WarningConfig) -> None:
        self._config = config

    def value(self, step: Step) -> float:
        """Return the cost, -1 to 0."""
        asked = {action.slot for action in step.decision.actions if action.op is not Op.WAIT}
        left = [slot for slot in step.observation.slots if slot.slot not in asked]
        return clamp(-sum(self._price(slot, step) for slot in left), -1.0, 0.0)

    def _price(self, slot: SlotSignals, step: Step) -> float:
        epochs = 1 + slot.state.epochs_in_stage
        if slot.state.stage is Stage.BLENDING and surely(slot.contribution) < 0:
            return self._config.harmful * epochs
        if slot.slot in step.masks.fossilize:
            return self._config.waiting * epochs
        return 0.0


def _ended(step: Step, stage: Stage) -> Iterable[SlotSignals]:
    """The slots, as the policy saw them, whose seed an action has brought to this stage."""
    moved = {change.slot for change in step.transitions if change.target is stage and change.cause is Cause.ACTION}
    return [slot for slot in step.observation.slots if slot.slot in moved]
