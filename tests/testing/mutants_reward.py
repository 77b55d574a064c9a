"""Wrong reward terms, one for each check."""

from collections.abc import Callable
from math import inf, isfinite, tanh
from typing import Any

from attrs import frozen

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


class KnowsTheTwin(Right):
    def value(self, step: Step) -> float:
        return 0.0 if step.host == "grown" else super().value(step)


class LooksAtSlot(Right):
    def value(self, step: Step) -> float:
        return super().value(step) / (2.0 if "site0" in step.stages_before() else 1.0)


class EmptiesMemo(Right):
    def value(self, step: Step) -> float:
        step.decision.memo["rewarded"] = True
        return super().value(step)


class DriftsSlowly(Right):
    def __init__(self, config: None = None) -> None:
        self.calls = 0

    def value(self, step: Step) -> float:
        self.calls += 1
        return super().value(step) * (1.0 if self.calls < 3000 else 0.5)


class Collects(Right):
    def __init__(self, config: None = None) -> None:
        self.seen: list[Step] = []

    def value(self, step: Step) -> float:
        self.seen.append(step)
        return super().value(step)


class TakesTheFirstOfSet(Right):
    def value(self, step: Step) -> float:
        first = next(iter({*step.stages_before(), "a", "b", "c", "d"}))
        return 0.5 if first in "ab" else 0.1


@frozen(kw_only=True)
class Options:
    """Of a term that does not use them."""

    scale: float = 1.0


class HasNoScale(Right):
    def __init__(self, config: Options) -> None:
        """The options are thrown away."""


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
    "reward-term-names": [
        (subject(KnowsTheTwin), "under other names of host, slots and seeds"),
        (subject(LooksAtSlot), "under other names of host, slots and seeds"),
    ],
    "component-input-untouched": [(subject(EmptiesMemo), "have changed")],
    "component-many-calls": [(subject(DriftsSlowly), "it does something else than in its first use")],
    "component-memory": [(subject(Collects), "bytes more with each use")],
    "component-processes": [(subject(TakesTheFirstOfSet), "in two processes")],
    "component-options-used": [
        (
            RewardTermSubject(
                spec=RewardTermSpec(
                    name="mutant", summary="Wrong.", factory=HasNoScale, config=Options, low=-1.0, high=1.0
                )
            ),
            "nobody reads the option",
        )
    ],
}
