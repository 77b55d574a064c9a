"""Potential-based shaping: it makes the way to a grown network easier to find, and changes no optimum."""

from collections.abc import Mapping
from itertools import pairwise

from esper_core.api import Stage, Step
from esper_rewards_standard.config import StagePotentialConfig

#: How far a seed has come, 0 to 1. The last step is the smallest: fossilizing is worth what the network gains by it.
#: A stage without a row is worth 0, above all those of a slot whose seed was culled.
POTENTIALS: Mapping[Stage, float] = {
    Stage.GERMINATED: 1 / 6,
    Stage.TRAINING: 2 / 6,
    Stage.BLENDING: 3.5 / 6,
    Stage.PROBATIONARY: 5.5 / 6,
    Stage.FOSSILIZED: 1.0,
}

_NEXT: Mapping[Stage, float] = {stage: POTENTIALS[after] for stage, after in pairwise(POTENTIALS)}


class StagePotential:
    """``gamma * potential(after) - potential(before)``, with the run's gamma, and 0 for what follows a terminal step.

    The potential of a host is the mean over its slots (Ng, Harada and Russell, 1999). A seed that is culled takes its
    potential with it, so that a cycle of germinating and culling is worth nothing.

    Args:
        config: its options.
    """

    def __init__(self, config: StagePotentialConfig) -> None:
        self._config = config

    def value(self, step: Step) -> float:
        """Return the shaping reward, from -1 to 1."""
        after = 0.0 if step.terminal else self._after(step)
        return step.gamma * after - self._before(step)

    def _before(self, step: Step) -> float:
        states = [slot.state for slot in step.observation.slots]
        return _mean([self._of(state.stage, state.epochs_in_stage) for state in states])

    def _after(self, step: Step) -> float:
        """The potential that the next observation would show: a stage that is new has lasted one epoch by then."""
        stages = step.stages_after()
        moved = {change.slot for change in step.transitions}
        states = [slot.state for slot in step.observation.slots]
        return _mean([self._of(stages[s.site.id], 1 if s.site.id in moved else s.epochs_in_stage + 1) for s in states])

    def _of(self, stage: Stage, epochs: int) -> float:
        base = POTENTIALS.get(stage, 0.0)
        if stage not in _NEXT:
            return base
        lasted = min(max(0, epochs), self._config.patience_epochs) / self._config.patience_epochs
        return base + self._config.lingering * lasted * (_NEXT[stage] - base)


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
