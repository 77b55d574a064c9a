"""What a policy must do: decide for every host, within the masks, and alike from alike."""

import json
from collections.abc import Sequence

from esper_core.leyline.actions import Action, ActionMasks, Op
from esper_core.leyline.learning import Decision, PolicyState, Situation
from esper_core.leyline.records import plain
from esper_core.leyline.specs import Capability, PolicySpec
from esper_core.tamiyo.policy import Policy, contradiction
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.policy_subject import EPOCHS, PolicySubject, decided
from esper_testing.situations import only_waiting, unmeasured, without_slots
from esper_testing.surroundings import watched

CONTRACT = CheckLevel.CONTRACT


def asked(decision: Decision) -> list[Action]:
    """Return what a decision asks for beside waiting."""
    return [action for action in decision.actions if action.op is not Op.WAIT]


@check("policy-capabilities", PolicySpec.kind, CONTRACT, since="2.0")
def capabilities(subject: PolicySubject) -> None:
    """Its actor offers what its descriptor declares, and nothing that it does not: a loop asks for what is declared.

    "stateful" is `state` and `restore`, "recurrent" is `forget`, "learns" is `learn` and `rounds`; the last two are
    stateful as well. A memory that is not declared would be lost when a run is resumed.
    """
    if problem := contradiction(subject.build_actor(), subject.spec.capabilities):
        seen, fix = problem
        raise CheckFailure(f"it {seen}", cause="a descriptor and an actor that were not changed together", fix=fix)


@check("policy-hosts", PolicySpec.kind, CONTRACT)
def hosts(subject: PolicySubject) -> None:
    """It decides for 1, 2 or 5 hosts at once, of different numbers of slots: one decision for each, in order.

    Hosts drop out in the middle of a round: the others are decided for as before.
    """
    for count in (1, 2, 5):
        policy = subject.build(count)
        for epoch, seen in enumerate(subject.round(seed=count, hosts=count, epochs=20)):
            decided(policy, seen if epoch < 10 else seen[1:] or seen)


@check("policy-allowed", PolicySpec.kind, CONTRACT)
def allowed(subject: PolicySubject) -> None:
    """Every action is possible under the host's masks: operation, slot, blueprint and curve together.

    The masks are the only word on what is possible: they know budgets and the governor, which observations do not
    show.
    """
    for seed in range(4):
        policy = subject.build()
        for seen in subject.round(seed):
            for decision, situation in zip(decided(policy, seen), seen, strict=True):
                _require_possible(decision, situation, "a decision from the observation alone, or a missing blend")


@check("policy-waits", PolicySpec.kind, CONTRACT)
def waits(subject: PolicySubject) -> None:
    """Where only waiting is possible it waits."""
    policy = subject.build()
    for seen in subject.round(seed=7):
        for decision in decided(policy, [only_waiting(situation) for situation in seen]):
            if asked(decision):
                raise CheckFailure(
                    f"nothing is possible, and it asks for {_words(decision)}",
                    cause="a choice among no candidates that falls back on a slot",
                    fix="return Decision() if masks.ops() holds nothing but WAIT",
                )


@check("policy-no-slots", PolicySpec.kind, CONTRACT)
def no_slots(subject: PolicySubject) -> None:
    """A host without a slot is waited for, also beside others that have some."""
    policy = subject.build()
    for seen in subject.round(seed=8, epochs=20):
        decision = decided(policy, [without_slots(seen[0]), *seen[1:]])[0]
        if asked(decision):
            raise CheckFailure(
                f"a host has no slots, and it asks for {_words(decision)}",
                cause="slots of another host, or a list of slots from earlier",
                fix="decide for each host on its own observation and masks",
            )


@check("policy-unmeasured", PolicySpec.kind, CONTRACT)
def decides_blind(subject: PolicySubject) -> None:
    """Before the first epoch, and where no figure was measured, it still decides within the masks."""
    policy = subject.build()
    for seen in subject.round(seed=9, epochs=40):
        blind = [unmeasured(situation) for situation in seen]
        for decision, situation in zip(decided(policy, blind), blind, strict=True):
            _require_possible(decision, situation, "arithmetic with None, or a default that stands for a measurement")


@check("policy-deterministic", PolicySpec.kind, CONTRACT)
def deterministic(subject: PolicySubject) -> None:
    """Two policies that are built alike and see the same decide alike, and move no global random generator.

    Otherwise no run could be repeated. A policy that draws numbers draws them from streams of its own.
    """
    one, two = subject.build(), subject.build()
    with watched() as changed:
        for seen in subject.round(seed=10):
            for first, second in zip(decided(one, seen), decided(two, seen), strict=True):
                if first.actions != second.actions:
                    raise CheckFailure(
                        f"built alike, one asks for {_words(first)}, the other for {_words(second)}",
                        cause="a global random generator, the time, or the order of a set",
                        fix="draw from random.Random(seed) of the actor's own; sort sets before choosing",
                    )
    if changed:
        raise CheckFailure(
            f"deciding changed {', '.join(changed)}",
            cause="a draw from a global random generator, or a call that seeds it",
            fix="draw from a generator of the actor's own",
        )


@check("policy-resumes", PolicySpec.kind, CONTRACT, requires={Capability.STATEFUL})
def resumes(subject: PolicySubject) -> None:
    """After its state was saved and restored it goes on as if nothing had happened.

    Tensors are saved as tensors, the record as JSON.
    """
    policy = subject.build()
    seen = subject.round(seed=11)
    for situation in seen[: EPOCHS // 2]:
        decided(policy, situation)
    resumed = subject.build()
    resumed.restore(saved(policy))
    require_alike(policy, resumed, seen[EPOCHS // 2 :])


@check("policy-forgets", PolicySpec.kind, CONTRACT, since="2.0", requires={Capability.RECURRENT})
def forgets(subject: PolicySubject) -> None:
    """A host that is forgotten, since its trajectory has ended before the round, changes nothing for the others."""
    policy, other = subject.build(), subject.build()
    seen = subject.round(seed=12, epochs=40)
    for epoch, situations_now in enumerate(seen):
        if epoch == 20:
            policy.forget(situations_now[0].host)
        pairs = zip(decided(policy, situations_now), decided(other, situations_now), strict=True)
        for found, expected in [*pairs][1:]:
            if found.actions != expected.actions:
                raise CheckFailure(
                    f"another host was forgotten, and it asks for {_words(found)} in place of {_words(expected)}",
                    cause="one hidden state for all hosts, or a reset of the whole of it",
                    fix="reset the state of this host alone",
                )


def saved(policy: Policy) -> PolicyState:
    """Return the policy's state as a checkpoint gives it back.

    Raises:
        CheckFailure: if it cannot be saved.
    """
    # Imported here: a list of the checks need not wait for torch.
    from torch import Tensor

    state = policy.state()
    if not isinstance(state, PolicyState):
        raise CheckFailure(
            f"its state is {state!r:.150}",
            cause="a plain mapping in place of the record",
            fix="return PolicyState(tensors={...}, record={...})",
        )
    if wrong := [name for name, tensor in state.tensors.items() if not isinstance(tensor, Tensor)]:
        raise CheckFailure(
            f"its state has {', '.join(wrong)} among the tensors",
            cause="a number or a list that belongs to the record",
            fix="put tensors into `tensors`, everything else into `record`",
        )
    tensors = {name: tensor.detach().clone() for name, tensor in state.tensors.items()}
    return PolicyState(tensors=tensors, record=json.loads(json.dumps(plain(state.record))), version=state.version)


def require_alike(policy: Policy, resumed: Policy, seen: Sequence[Sequence[Situation]]) -> None:
    """Let two policies decide.

    Raises:
        CheckFailure: at the first decision in which they differ.
    """
    for situations_now in seen:
        for expected, found in zip(decided(policy, situations_now), decided(resumed, situations_now), strict=True):
            if expected.actions != found.actions:
                raise CheckFailure(
                    f"after its state was saved and restored it asks for {_words(found)}, not {_words(expected)}",
                    cause="a memory that `state` leaves out",
                    fix="return everything that later decisions depend on, and take it up in `restore`",
                )


def _require_possible(decision: Decision, situation: Situation, cause: str) -> None:
    for action in decision.actions:
        if not situation.masks.allows(action):
            raise CheckFailure(
                f"it asks for {_name(action)}; possible: {_possible(situation.masks)}",
                cause=cause,
                fix="choose among masks.slots_for(op), masks.blueprints_for(slot) and masks.blends",
            )


def _words(decision: Decision) -> str:
    return " and ".join(_name(action) for action in asked(decision)) or "nothing"


def _name(action: Action) -> str:
    parts = (action.op.name, action.blueprint, action.slot and f"in {action.slot}", action.blend)
    return " ".join(str(part) for part in parts if part)


def _possible(masks: ActionMasks) -> str:
    return ", ".join(f"{op.name} in {sorted(masks.slots_for(op))}" if op else "WAIT" for op in sorted(masks.ops()))


#: The checks of this module in order.
POLICY_CHECKS: tuple[Check, ...] = collect(globals())
