"""What a reward term must be: bounded whatever was measured, without a memory, and a potential where it says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isclose, isfinite
from typing import ClassVar

from attrs import evolve, frozen

from esper_core.leyline.protocols import RewardTerm
from esper_core.leyline.specs import RewardTermSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.renaming import renamed
from esper_testing.steps import GAMMA, any_step, path
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: How many steps are rewarded.
STEPS = 200


@frozen(kw_only=True)
class RewardTermSubject(Subject[RewardTermSpec]):
    """What the checks of reward terms look at."""

    # Many terms are about rare steps, which made-up ones do not hold: not every option shows.
    shows_options: ClassVar[bool] = False

    def build(self) -> RewardTerm:
        """Return a new term."""
        term: RewardTerm = self.factory(self.config)
        return term

    def build_any(self) -> None:
        """Build one term."""
        self.build()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Reward steps of every kind, and ways through the stages."""
        term = self.build()
        steps = [*map(any_step, range(40)), *(step for seed in range(10) for step in path(seed, 1))]
        yield Usage(use=lambda: [term.value(step) for step in steps], handed=steps)


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
        value = term.value(any_step(step))
        if not isinstance(value, int | float) or not isfinite(value) or not spec.low <= value <= spec.high:
            raise CheckFailure(
                f"its value is {value!r}, outside of {spec.low} to {spec.high}",
                cause="a loss that is not finite or very large, a division by zero, or a missing twin",
                fix="give a neutral value where something is missing or not finite, and clamp to the bounds",
            )


@check("reward-term-stateless", RewardTermSpec.kind, CheckLevel.CONTRACT)
def stateless(subject: RewardTermSubject) -> None:
    """The value follows from the step alone: hosts take turns, and runs are resumed in the middle."""
    term = subject.build()
    first = [term.value(any_step(step)) for step in range(STEPS)]
    again = [term.value(any_step(step)) for step in reversed(range(STEPS))][::-1]
    fresh = [subject.build().value(any_step(step)) for step in range(STEPS)]
    for one, two, three in zip(first, again, fresh, strict=True):
        if not one == two == three:
            raise CheckFailure(
                f"the same step was worth {one}, then {two}, and {three} to a new term",
                cause="a running mean, a best value so far, or another memory",
                fix="compute it from the step's `before` and `after`",
            )


#: The names in made-up steps, and others, in another order.
_OTHERS = {"grown": "b7", "twin": "a1", "host0": "c2", "host": "d", "block0": "y1", "block1": "x2", "block2": "w3"}
_OTHERS |= {f"site{index}": f"z{9 - index}" for index in range(9)}
_OTHERS |= {f"{slot}-0": f"{other}-17" for slot, other in _OTHERS.items()}


@check("reward-term-names", RewardTermSpec.kind, CheckLevel.CONTRACT)
def names(subject: RewardTermSubject) -> None:
    """The value follows from figures and stages: under other names of host, slots and seeds it is the same.

    Blueprints keep their names, for a term may weigh them. Differences of 0.0001 % are rounding, as of a sum in another
    order; so a term that takes names only to find what belongs together always passes.
    """
    term = subject.build()
    for step in [*map(any_step, range(80)), *(it for seed in range(10) for it in path(seed, 1))]:
        one, two = term.value(step), term.value(renamed(step, _OTHERS))
        if not isclose(one, two, rel_tol=1e-6, abs_tol=1e-6):
            raise CheckFailure(
                f"a step is worth {one}, and {two} under other names of host, slots and seeds",
                cause="a condition on the name of the host, or of a slot",
                fix="use step.twin to compare with the twin, and figures or stages for all else",
            )


def _declares_potential(spec: RewardTermSpec) -> str | None:
    return None if spec.potential_based else "for terms that declare `potential_based`"


@check("reward-term-potential", RewardTermSpec.kind, CheckLevel.CONTRACT, since="2.0", only=_declares_potential)
def potential(subject: RewardTermSubject) -> None:
    """A term that declares `potential_based` telescopes: the way between two states makes no difference to its return.

    Discounted with the run's gamma, two steps are worth the same whatever lies between them. After a terminal step the
    potential is 0, so then it makes no difference either where the second step leads.
    """
    term = subject.build()
    for seed in range(40):
        for terminated in (False, True):
            ways = [path(seed, detour, terminated=terminated) for detour in (1, 2)]
            if terminated:
                elsewhere = path(seed + 1000, 1)[1]
                ways[1] = (ways[1][0], evolve(ways[1][1], after=elsewhere.after, transitions=()))
            one, other = (term.value(first) + GAMMA * term.value(second) for first, second in ways)
            if not isclose(one, other, rel_tol=1e-6, abs_tol=1e-6):
                raise CheckFailure(
                    f"two ways {'from a state to a terminal step' if terminated else 'between the same two states'} "
                    f"are worth {one:.6g} and {other:.6g}",
                    cause="another discount than `step.gamma`, a potential after a terminal step, or one of the action",
                    fix="return step.gamma * potential(after) - potential(before), with 0 for `after` if step.ended is "
                    "Ended.TERMINATED; or do not declare `potential_based`",
                )


#: The checks of this module in order.
REWARD_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(RewardTermSubject, REWARD_CHECKS)
