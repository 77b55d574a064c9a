"""What a policy may remember: what it declares and saves, at any time, and nothing else."""

from typing import Any

from esper_core.leyline.learning import PolicyState, Round
from esper_core.leyline.specs import Capability, PolicySpec
from esper_core.tamiyo.policy import Policy
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.policy_checks import require_alike, saved
from esper_testing.policy_subject import EPOCHS, HOSTS, PolicySubject, decided
from esper_testing.processes import elsewhere
from esper_testing.situations import host_names
from esper_testing.usage import difference, picture, same

CONTRACT = CheckLevel.CONTRACT

#: Epochs of a round before which a run is interrupted: at its beginning, soon after, in the middle, at its end.
TIMES = (0, 1, 2, 7, 40, 75, 140)

#: How many epochs are compared from there on.
AFTER = 10

_FIX = "return everything that later decisions depend on in `state`, and take it up in `restore`"


def _round(number: int) -> Round:
    return Round(number=number, hosts=host_names(HOSTS), epochs=EPOCHS)


@check("policy-memoryless", PolicySpec.kind, CONTRACT, exempts={Capability.STATEFUL})
def memoryless(subject: PolicySubject) -> None:
    """A policy that is not "stateful" decides in the middle of a round as one that has just been built for it.

    A resumed run builds it again: what it remembers would be gone. Earlier rounds make no difference either. A policy
    that decides from the round that it was told of and from what it is shown always passes.
    """
    policy = subject.build()
    for number in (0, 1, 2):
        seen = subject.round(seed=14 + number)
        policy.reset(_round(number))
        lived = [decided(policy, situations) for situations in seen]
        for epoch in TIMES:
            fresh = subject.build()
            fresh.reset(_round(number))
            for later in range(epoch, min(epoch + AFTER, EPOCHS)):
                found = decided(fresh, seen[later])
                if [it.actions for it in found] != [it.actions for it in lived[later]]:
                    raise CheckFailure(
                        f"built again before epoch {epoch} of round {number}, it decides otherwise in epoch {later}",
                        cause="a memory that is not declared: a counter, a best value, what it did before, a generator",
                        fix='decide from what is shown; or declare "stateful" and offer `state` and `restore`',
                    )


@check("policy-resumes-anywhere", PolicySpec.kind, CONTRACT, requires={Capability.STATEFUL})
def resumes_anywhere(subject: PolicySubject) -> None:
    """Saved at any time, in a later round as well, it goes on as if nothing had happened; saving itself does nothing.

    A policy always passes whose state is all that its decisions depend on, and that takes all of it up.
    """
    policy = subject.build()
    for number in (0, 1):
        seen = subject.round(seed=17 + number)
        policy.reset(_round(number))
        begun = 0
        for epoch in TIMES[number:]:
            if epoch >= begun:
                for situations in seen[begun:epoch]:
                    decided(policy, situations)
                _require_resumes(subject, policy, seen, number, epoch)
                begun = epoch + AFTER


def _require_resumes(subject: PolicySubject, policy: Policy, seen: Any, number: int, epoch: int) -> None:
    where = f"in round {number}, before epoch {epoch}"
    kept, following = saved(policy), seen[epoch : epoch + AFTER]
    resumed, beside = (_restored(subject, kept, number) for _ in range(2))
    again = saved(resumed)
    if picture((again.tensors, again.record)) != picture((kept.tensors, kept.record)):
        raise CheckFailure(
            f"{where}: restored, its state is another one than the one that was saved",
            cause="something that `restore` leaves out, or a state that changes as it is asked for",
            fix=_FIX,
        )
    # Against another that was restored and not asked for its state again, then against the policy itself.
    require_alike(beside, resumed, following)
    require_alike(policy, _restored(subject, kept, number), following)


def _restored(subject: PolicySubject, state: PolicyState, number: int) -> Policy:
    policy = subject.build()
    policy.reset(_round(number))
    policy.restore(state)
    return policy


@check("policy-resumes-elsewhere", PolicySpec.kind, CheckLevel.FULL, slow=True, requires={Capability.STATEFUL})
def resumes_elsewhere(subject: PolicySubject) -> None:
    """Restored in another process it goes on as if nothing had happened: that is where a run is resumed.

    The order of sets is another one there, and nothing of a class or module that was changed meanwhile is left. A
    policy always passes whose state is all that it remembers, and that sorts what it takes from sets.
    """
    (first,) = elsewhere(_lived, (subject,))
    if isinstance(first, NotApplicable):
        raise first
    state, expected = first
    _, second = elsewhere(_resumed, (subject, state), (subject, state))
    if not same(expected, second):
        raise CheckFailure(
            f"restored in another process it decides otherwise: {difference(expected, second)}",
            cause="the order of a set, hash() of a text, or a memory in a class or module",
            fix=_FIX + "; sort before you choose",
        )


def _lived(subject: PolicySubject) -> tuple[PolicyState, Any]:
    """Live through half of a round; return the state there, and what it decides in the other half."""
    policy, seen = subject.build(), subject.round(seed=19)
    for situations in seen[: EPOCHS // 2]:
        decided(policy, situations)
    state = saved(policy)
    return state, _actions(policy, seen)


def _resumed(subject: PolicySubject, state: PolicyState) -> Any:
    policy, seen = subject.build(), subject.round(seed=19)
    policy.restore(state)
    return _actions(policy, seen)


def _actions(policy: Policy, seen: Any) -> Any:
    return [[it.actions for it in decided(policy, situations)] for situations in seen[EPOCHS // 2 :]]


#: The checks of this module in order.
MEMORY_CHECKS: tuple[Check, ...] = collect(globals())
