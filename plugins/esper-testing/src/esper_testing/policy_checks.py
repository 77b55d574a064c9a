"""What a policy must do: decide for every host, within the masks, and alike from alike."""

import json
from collections.abc import Sequence

from attrs import field, frozen

from esper_core.leyline.actions import Action, ActionMasks, Op
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.observation import Observation
from esper_core.leyline.protocols import Actor, Resumable
from esper_core.leyline.records import plain
from esper_core.leyline.specs import PolicySpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.conformance import Conformance
from esper_testing.situations import CATALOGUE, Situation, only_waiting, situations
from esper_testing.subject import Subject
from esper_testing.surroundings import watched

CONTRACT = CheckLevel.CONTRACT

#: How many epochs are decided, and for how many hosts at once.
EPOCHS, HOSTS = 150, 3


@frozen(kw_only=True)
class PolicySubject(Subject[PolicySpec]):
    """What the policy checks look at.

    Attributes:
        catalogue: the blueprints that it may germinate.
    """

    catalogue: Catalogue = field(default=CATALOGUE)

    def build(self, hosts: int = HOSTS) -> Actor:
        """Return a new actor that has begun a round."""
        actor: Actor = self.factory(self.config, self.catalogue)
        actor.reset(hosts)
        return actor

    def build_any(self) -> None:
        """Build one actor."""
        self.build()

    def round(self, seed: int, hosts: int = HOSTS, epochs: int = EPOCHS) -> list[list[Situation]]:
        """Return what an actor is shown, epoch by epoch, a situation for each host."""
        return [situations(self.catalogue, hosts, epoch, epochs, seed) for epoch in range(epochs)]


def decided(actor: Actor, seen: Sequence[Situation]) -> Sequence[Action]:
    """Return one decision of the actor for every host.

    Raises:
        CheckFailure: if it does not return one action for each.
    """
    observations: list[Observation] = [situation.observation for situation in seen]
    masks: list[ActionMasks] = [situation.masks for situation in seen]
    actions = list(actor.decide(observations, masks))
    if len(actions) != len(seen) or not all(isinstance(action, Action) for action in actions):
        raise CheckFailure(
            f"for {len(seen)} hosts it returned {len(actions)} decisions: {actions!r:.200}",
            cause="a decision for the first host only, or None where it has nothing to say",
            fix="return one Action for each host, in their order; WAIT where nothing is to be done",
        )
    return actions


@check("policy-hosts", PolicySpec.kind, CONTRACT)
def hosts(subject: PolicySubject) -> None:
    """It decides for 1, 2 or 5 hosts at once, of different numbers of slots: one action for each, in order."""
    for count in (1, 2, 5):
        actor = subject.build(count)
        for seen in subject.round(seed=count, hosts=count, epochs=20):
            decided(actor, seen)


@check("policy-allowed", PolicySpec.kind, CONTRACT)
def allowed(subject: PolicySubject) -> None:
    """Every action is possible under the host's masks: operation, slot, blueprint and curve together.

    The masks are the only word on what is possible: they know budgets and the governor, which observations do not
    show.
    """
    for seed in range(4):
        actor = subject.build()
        for seen in subject.round(seed):
            for action, situation in zip(decided(actor, seen), seen, strict=True):
                if not situation.masks.allows(action):
                    raise CheckFailure(
                        f"it asks for {_words(action)}; possible: {_possible(situation.masks)}",
                        cause="a decision from the observation alone (a slot is dormant), or a missing blend",
                        fix="choose among masks.slots_for(op), masks.blueprints_for(slot) and masks.blends",
                    )


@check("policy-waits", PolicySpec.kind, CONTRACT)
def waits(subject: PolicySubject) -> None:
    """Where only waiting is possible it waits."""
    actor = subject.build()
    for seen in subject.round(seed=7):
        for action in decided(actor, [only_waiting(situation) for situation in seen]):
            if action.op is not Op.WAIT:
                raise CheckFailure(
                    f"nothing is possible, and it asks for {_words(action)}",
                    cause="a choice among no candidates that falls back on a slot",
                    fix="return WAIT if masks.ops() holds nothing else",
                )


@check("policy-no-slots", PolicySpec.kind, CONTRACT)
def no_slots(subject: PolicySubject) -> None:
    """A host without a slot is waited for, also beside others that have some."""
    actor = subject.build()
    for seen in subject.round(seed=8, epochs=20):
        bare = [Situation.without_slots(seen[0]), *seen[1:]]
        action = decided(actor, bare)[0]
        if action.op is not Op.WAIT:
            raise CheckFailure(
                f"a host has no slots, and it asks for {_words(action)}",
                cause="slots of another host, or a list of slots from earlier",
                fix="decide for each host on its own observation and masks",
            )


@check("policy-unmeasured", PolicySpec.kind, CONTRACT)
def unmeasured(subject: PolicySubject) -> None:
    """Before the first epoch, and where no figure was measured, it still decides within the masks."""
    actor = subject.build()
    for seen in subject.round(seed=9, epochs=40):
        blind = [Situation.unmeasured(situation) for situation in seen]
        for action, situation in zip(decided(actor, blind), blind, strict=True):
            if not situation.masks.allows(action):
                raise CheckFailure(
                    f"nothing is measured, and it asks for {_words(action)}; possible: {_possible(situation.masks)}",
                    cause="arithmetic with None, or a default that stands for a measurement",
                    fix="wait, or decide on stages and masks alone",
                )


@check("policy-deterministic", PolicySpec.kind, CONTRACT)
def deterministic(subject: PolicySubject) -> None:
    """Two actors that are built alike and see the same decide alike, and move no global random generator.

    Otherwise no run could be repeated. A policy that draws numbers draws them from streams of its own.
    """
    one, two = subject.build(), subject.build()
    with watched() as changed:
        for seen in subject.round(seed=10):
            first, second = decided(one, seen), decided(two, seen)
            if first != second:
                one_asks, other_asks = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
                raise CheckFailure(
                    f"built alike, one asks for {_words(one_asks)}, the other for {_words(other_asks)}",
                    cause="a global random generator, the time, or the order of a set",
                    fix="draw from random.Random(seed) of the actor's own; sort sets before choosing",
                )
    if changed:
        raise CheckFailure(
            f"deciding changed {', '.join(changed)}",
            cause="a draw from a global random generator, or a call that seeds it",
            fix="draw from a generator of the actor's own",
        )


@check("policy-resumes", PolicySpec.kind, CONTRACT)
def resumes(subject: PolicySubject) -> None:
    """An actor that offers `state` and `restore` goes on as if nothing had happened, its state written as JSON."""
    actor = subject.build()
    if not isinstance(actor, Resumable):
        raise NotApplicable("it has no memory of its own (`state`, `restore`)")
    seen = subject.round(seed=11)
    for situation in seen[: EPOCHS // 2]:
        decided(actor, situation)
    saved = json.loads(json.dumps(plain(actor.state())))
    resumed = subject.build()
    assert isinstance(resumed, Resumable)
    resumed.restore(saved)
    for situation in seen[EPOCHS // 2 :]:
        if (expected := decided(actor, situation)) != (found := decided(resumed, situation)):
            raise CheckFailure(
                f"after its state was saved and restored it decides {found!r:.150} in place of {expected!r:.150}",
                cause="a memory that `state` leaves out",
                fix="return everything that later decisions depend on, and take it up in `restore`",
            )


def _words(action: Action) -> str:
    parts = (action.op.name, action.blueprint, action.slot and f"in {action.slot}", action.blend)
    return " ".join(str(part) for part in parts if part)


def _possible(masks: ActionMasks) -> str:
    return ", ".join(f"{op.name} in {sorted(masks.slots_for(op))}" if op else "WAIT" for op in sorted(masks.ops()))


#: The checks of this module in order.
POLICY_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(PolicySubject, POLICY_CHECKS)
