"""What a policy says of itself, if it says anything: possible actions with probabilities, and no side effects."""

from math import isfinite

from esper_core.leyline.learning import Decision, Explanation, Situation
from esper_core.leyline.protocols import Explains
from esper_core.leyline.specs import PolicySpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.policy_subject import PolicySubject, decided

#: How many epochs are looked at, and how far probabilities may be from 1 in sum.
_EPOCHS, _TOLERANCE = 60, 1e-3


@check("policy-explains", PolicySpec.kind, CheckLevel.CONTRACT, since="2.0")
def explains(subject: PolicySubject) -> None:
    """If it offers `explain`: possible actions, the most probable first, with probabilities that sum to 1.

    What it then decides is one of them, of a probability above 0, and it decides alike if it is not asked.
    """
    if not isinstance(subject.build_actor(), Explains):
        raise NotApplicable("it offers no `explain`")
    asked, unasked = subject.build(), subject.build()
    for seen in subject.round(seed=16, epochs=_EPOCHS):
        said = [asked.explain(situation) for situation in seen]
        pairs = zip(decided(asked, seen), decided(unasked, seen), strict=True)
        for situation, explanation, (decision, other) in zip(seen, said, pairs, strict=True):
            _require_chosen(_sound(explanation, situation), decision)
            if decision.actions != other.actions:
                raise CheckFailure(
                    "it decides otherwise after it was asked what it thinks",
                    cause="a hidden state, a counter or a generator that `explain` moves on",
                    fix="work on copies in `explain`",
                )


def _sound(explanation: object, situation: Situation) -> Explanation:
    if not isinstance(explanation, Explanation):
        raise CheckFailure(f"it explains with {explanation!r:.100}", cause="another return value", fix="an Explanation")
    chances = [choice.probability for choice in explanation.choices]
    if abs(sum(chances) - 1.0) > _TOLERANCE or chances != sorted(chances, reverse=True) or min(chances) < 0.0:
        raise CheckFailure(
            f"its probabilities are {[round(it, 3) for it in chances[:8]]}",
            cause="probabilities of single heads, or choices in the order of their names",
            fix="give the probability of each whole action, the largest first; together they are 1",
        )
    if wrong := [it.action for it in explanation.choices if not situation.masks.allows(it.action)]:
        raise CheckFailure(f"it may choose {wrong[0]}, which is not possible", cause="no masks", fix="apply the masks")
    if explanation.value is not None and not isfinite(explanation.value):
        raise CheckFailure(
            f"it expects {explanation.value}", cause="a value of nothing", fix="None where it has no idea"
        )
    return explanation


def _require_chosen(explanation: Explanation, decision: Decision) -> None:
    """Of several actions for one host nothing is said: choices are single actions."""
    if len(decision.actions) != 1:
        return
    (done,) = ((it.op, it.slot, it.blueprint, it.blend) for it in decision.actions)
    for choice in explanation.choices:
        it = choice.action
        if (it.op, it.slot, it.blueprint, it.blend) == done and choice.probability > 0.0:
            return
    raise CheckFailure(
        f"it does {done}, which is not among the actions that it may choose",
        cause="an explanation of another state than the one that it decides in",
        fix="explain with the memory with which it will decide",
    )


#: The checks of this module in order.
EXPLAINING_CHECKS: tuple[Check, ...] = collect(globals())
