"""What a policy that learns must do: learn from rounds, alike from alike, and go on where it was saved."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from esper_core.leyline.learning import Decision, Round, Trajectory
from esper_core.leyline.specs import Capability, PolicySpec
from esper_core.tamiyo.policy import Policy
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.policy_checks import POLICY_CHECKS, require_alike, saved
from esper_testing.policy_explaining import EXPLAINING_CHECKS
from esper_testing.policy_memory import MEMORY_CHECKS
from esper_testing.policy_subject import HOSTS, PolicySubject, decided
from esper_testing.situations import host_names
from esper_testing.steps import trajectory
from esper_testing.surroundings import watched

LEARNS = frozenset({Capability.LEARNS})

#: Length of the rounds that are learned from, in epochs.
LENGTH = 12


def learned(policy: Policy, subject: PolicySubject, number: int) -> Mapping[str, Any]:
    """Let a policy decide for one round and learn from it; return what it says about that."""
    policy.reset(Round(number=number, hosts=host_names(HOSTS), epochs=LENGTH))
    seen = subject.round(seed=100 + number, epochs=LENGTH + 1)
    decisions = [decided(policy, situations) for situations in seen[:LENGTH]]
    return policy.learn([_trajectory(seen, decisions, host, number) for host in range(HOSTS)])


def _trajectory(seen: list[Any], decisions: list[list[Decision]], host: int, number: int) -> Trajectory:
    """Return one host's; some end early, as those of hosts that are stopped do."""
    length = LENGTH if host else LENGTH // 2
    shown, answers = [row[host] for row in seen[:length]], [row[host] for row in decisions[:length]]
    return trajectory(shown, answers, seen[length][host], number=number, seed=number * HOSTS + host)


@check("policy-learns", PolicySpec.kind, CheckLevel.CONTRACT, since="2.0", requires=LEARNS)
def learns(subject: PolicySubject) -> None:
    """It learns from several rounds with trajectories of different lengths, and says so in finite numbers.

    `rounds` is how many it wants, at least 1.
    """
    policy = subject.build()
    rounds: Any = policy.rounds
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise CheckFailure(
            f"it wants {rounds!r} rounds", cause="an option without a lower limit", fix="let `rounds` be 1 or more"
        )
    for number in range(3):
        figures = learned(policy, subject, number)
        if not isinstance(figures, Mapping) or not all(_is_figure(*item) for item in figures.items()):
            raise CheckFailure(
                f"it learned with the figures {figures!r:.200}",
                cause="a tensor, or a loss that is not finite",
                fix="return numbers by name; leave out what is not known, and skip an update that is not finite",
            )


@check("policy-learns-alike", PolicySpec.kind, CheckLevel.CONTRACT, since="2.0", requires=LEARNS)
def learns_alike(subject: PolicySubject) -> None:
    """Two that are built alike learn alike from the same rounds, and move no global random generator."""
    one, two = subject.build(), subject.build()
    with watched() as changed:
        for number in range(2):
            first, second = learned(one, subject, number), learned(two, subject, number)
            if dict(first) != dict(second):
                raise CheckFailure(
                    f"built alike, one learned with {dict(first)}, the other with {dict(second)}",
                    cause="a global random generator, the time, or the order of a set",
                    fix="draw from a generator of the actor's own, and save its state",
                )
    if changed:
        raise CheckFailure(
            f"learning changed {', '.join(changed)}",
            cause="a draw from a global random generator (dropout, a shuffle), or a call that seeds it",
            fix="draw from a generator of the actor's own",
        )


@check("policy-learning-resumes", PolicySpec.kind, CheckLevel.CONTRACT, since="2.0", requires=LEARNS)
def learning_resumes(subject: PolicySubject) -> None:
    """What it has learned is in its state: saved and restored, it decides and learns on as if nothing had happened."""
    policy = subject.build()
    learned(policy, subject, 0)
    resumed = subject.build()
    resumed.restore(saved(policy))
    begun = Round(number=1, hosts=host_names(HOSTS), epochs=40)
    for one in (policy, resumed):
        one.reset(begun)
    require_alike(policy, resumed, subject.round(seed=13, epochs=40))
    expected, found = learned(policy, subject, 2), learned(resumed, subject, 2)
    if dict(expected) != dict(found):
        raise CheckFailure(
            f"after its state was saved and restored it learns with {dict(found)}, not {dict(expected)}",
            cause="an optimizer, a normaliser or a generator that `state` leaves out",
            fix="return everything that later updates depend on, and take it up in `restore`",
        )


def _is_figure(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, int | float) and isfinite(value)


#: The checks of this module in order.
LEARNER_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(PolicySubject, (*POLICY_CHECKS, *EXPLAINING_CHECKS, *MEMORY_CHECKS, *LEARNER_CHECKS))
