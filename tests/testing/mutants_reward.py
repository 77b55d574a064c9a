"""Wrong reward terms, one for each check."""

from collections.abc import Callable
from math import inf, isfinite, tanh
from typing import Any

from esper_core.api import Ended, Step
from esper_core.specs import RewardTermSpec
from esper_testing import RewardTermSubject


class Right:
    """A right term: the squashed improvement of the validation loss."""

    def __init__(self, config: None = None) -> None:
        pass

    def value(self, step: Step) -> float:
        if step.before is None or not isfinite(gain := step.before.validation.loss - step.after.validation.loss):
            return 0.0
        return tanh(gain)


class IsNotLimited(Right):
    def value(self, step: Step) -> float:
        return -float(len(step.transitions))


class NeedsTwin(Right):
    def value(self, step: Step) -> float:
        return tanh(step.twin.validation.accuracy - step.after.validation.accuracy)


class Remembers(Right):
    def __init__(self, config: None = None) -> None:
        self.best = 0.0

    def value(self, step: Step) -> float:
        self.best = max(self.best, step.after.validation.accuracy)
        return step.after.validation.accuracy - self.best


class Potential(Right):
    """A right potential: of stages and of the accuracy."""

    gamma: float | None = None

    def value(self, step: Step) -> float:
        gamma = step.gamma if self.gamma is None else self.gamma
        before = sum(step.stages_before().values()) / 100 + (step.before.validation.accuracy if step.before else 0.0)
        return gamma * self.after(step) - before

    def after(self, step: Step) -> float:
        if step.ended is Ended.TERMINATED:
            return 0.0
        return sum(step.stages_after().values()) / 100 + step.after.validation.accuracy


class HasItsOwnGamma(Potential):
    gamma = 0.99


class ForgetsThatItEnds(Potential):
    def after(self, step: Step) -> float:
        return sum(step.stages_after().values()) / 100 + step.after.validation.accuracy


class PaysForMoves(Potential):
    def value(self, step: Step) -> float:
        return super().value(step) + 0.01 * len(step.transitions)


def subject(factory: Callable[..., Any], low: float = -1.0, high: float = 1.0, **more: bool) -> RewardTermSubject:
    spec = RewardTermSpec(name="mutant", summary="Wrong.", factory=factory, low=low, high=high, **more)
    return RewardTermSubject(spec=spec)


RIGHT = [subject(Right), subject(Potential, low=-2.0, high=2.0, potential_based=True)]

MUTANTS = {
    "reward-term-bounds-declared": [
        (subject(Right, high=inf), "the bounds are -1.0 and inf"),
        (subject(Right, low=1.0, high=-1.0), "the bounds are 1.0 and -1.0"),
    ],
    "reward-term-bounded": [
        (subject(IsNotLimited), "outside of -1.0 to 1.0"),
        (subject(NeedsTwin), "'NoneType' object has no attribute 'validation'"),
    ],
    "reward-term-potential": [
        (subject(HasItsOwnGamma, potential_based=True), "two ways between the same two states are worth"),
        (subject(ForgetsThatItEnds, potential_based=True), "two ways from a state to a terminal step are worth"),
        (subject(PaysForMoves, potential_based=True), "are worth"),
    ],
    "reward-term-stateless": [(subject(Remembers), "the same step was worth")],
}
