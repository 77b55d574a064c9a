"""Wrong reward terms, one for each check."""

from collections.abc import Callable
from math import inf, isfinite, tanh
from typing import Any

from esper_core.specs import RewardTermSpec
from esper_testing import RewardTermSubject


class Right:
    """A right term: the squashed improvement of the validation loss."""

    def __init__(self, config: None = None) -> None:
        pass

    def value(self, before: Any, after: Any, transitions: Any, twin: Any) -> float:
        if before is None or not isfinite(gain := before.validation.loss - after.validation.loss):
            return 0.0
        return tanh(gain)


class IsNotLimited(Right):
    def value(self, before: Any, after: Any, transitions: Any, twin: Any) -> float:
        return -float(len(transitions))


class NeedsTwin(Right):
    def value(self, before: Any, after: Any, transitions: Any, twin: Any) -> float:
        return tanh(twin.validation.accuracy - after.validation.accuracy)


class Remembers(Right):
    def __init__(self, config: None = None) -> None:
        self.best = 0.0

    def value(self, before: Any, after: Any, transitions: Any, twin: Any) -> float:
        self.best = max(self.best, after.validation.accuracy)
        return after.validation.accuracy - self.best


def subject(factory: Callable[..., Any], low: float = -1.0, high: float = 1.0) -> RewardTermSubject:
    return RewardTermSubject(spec=RewardTermSpec(name="mutant", summary="Wrong.", factory=factory, low=low, high=high))


RIGHT = [subject(Right)]

MUTANTS = {
    "reward-term-bounds-declared": [
        (subject(Right, high=inf), "the bounds are -1.0 and inf"),
        (subject(Right, low=1.0, high=-1.0), "the bounds are 1.0 and -1.0"),
    ],
    "reward-term-bounded": [
        (subject(IsNotLimited), "outside of -1.0 to 1.0"),
        (subject(NeedsTwin), "'NoneType' object has no attribute 'validation'"),
    ],
    "reward-term-stateless": [(subject(Remembers), "the same step was worth")],
}
