"""What a reward term must be: bounded whatever was measured, and without a memory."""

from math import isfinite
from random import Random

from attrs import frozen

from esper_core.leyline.protocols import RewardTerm
from esper_core.leyline.specs import RewardTermSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.samples import host_evidence, transitions
from esper_testing.subject import Subject

#: How many steps are rewarded.
STEPS = 200


@frozen(kw_only=True)
class RewardTermSubject(Subject[RewardTermSpec]):
    """What the checks of reward terms look at."""

    def build(self) -> RewardTerm:
        """Return a new term."""
        term: RewardTerm = self.factory(self.config)
        return term

    def build_any(self) -> None:
        """Build one term."""
        self.build()

    def value(self, term: RewardTerm, step: int) -> float:
        """Return the term's value for a made-up step: some are the first, some have no twin."""
        draw = Random(step)
        before, after, twin = host_evidence(3, seed=step)
        return term.value(
            None if draw.random() < 0.2 else before, after, transitions(step), None if draw.random() < 0.4 else twin
        )


@check("reward-term-bounds-declared", RewardTermSpec.kind, CheckLevel.STATIC)
def bounds_declared(subject: RewardTermSubject) -> None:
    """The descriptor declares finite bounds that leave room for more than one value."""
    low, high = subject.spec.low, subject.spec.high
    if not (isfinite(low) and isfinite(high) and low < high):
        raise CheckFailure(
            f"the bounds are {low} and {high}",
            cause="a term that is not limited, or bounds the wrong way round",
            fix="limit the value, as by tanh or by clamping, and declare low < high",
        )


@check("reward-term-bounded", RewardTermSpec.kind, CheckLevel.CONTRACT)
def bounded(subject: RewardTermSubject) -> None:
    """The value is a finite number within the declared bounds, whatever was measured or not measured.

    A run ends with E503 at the first value that is not.
    """
    term, spec = subject.build(), subject.spec
    for step in range(STEPS):
        value = subject.value(term, step)
        if not isinstance(value, int | float) or not isfinite(value) or not spec.low <= value <= spec.high:
            raise CheckFailure(
                f"its value is {value!r}, outside of {spec.low} to {spec.high}",
                cause="a loss that is not finite or very large, a division by zero, or a missing twin",
                fix="give a neutral value where something is missing or not finite, and clamp to the bounds",
            )


@check("reward-term-stateless", RewardTermSpec.kind, CheckLevel.CONTRACT)
def stateless(subject: RewardTermSubject) -> None:
    """The value follows from the arguments alone: hosts take turns, and runs are resumed in the middle."""
    term = subject.build()
    first = [subject.value(term, step) for step in range(STEPS)]
    again = [subject.value(term, step) for step in reversed(range(STEPS))][::-1]
    fresh = [subject.value(subject.build(), step) for step in range(STEPS)]
    for one, two, three in zip(first, again, fresh, strict=True):
        if not one == two == three:
            raise CheckFailure(
                f"the same step was worth {one}, then {two}, and {three} to a new term",
                cause="a running mean, a best value so far, or another memory",
                fix="compute it from `before` and `after`",
            )


#: The checks of this module in order.
REWARD_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(RewardTermSubject, REWARD_CHECKS)
