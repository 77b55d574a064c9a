"""The loop: who goes first, what everybody is told, when it ends."""

import math
from itertools import pairwise

import pytest
import torch
from attrs import define, evolve, field

from esper_core.leyline.actions import Action, GovernorMode, Op
from esper_core.leyline.diagnostics import Finding
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.executors import Plan
from esper_core.leyline.learning import Decision, Ended, PolicyState
from esper_core.leyline.stages import Blend, Stage
from esper_core.leyline.vital_signs import Vote
from esper_core.simic.loop import run_round
from esper_core.simic.rewards import WeightedTerm
from esper_core.simic.rollout import Rollout
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tamiyo.policy import Policy
from esper_core.tolaria.host import GrowingHost
from esper_executor_serial.executor import SerialExecutor
from esper_policy_baselines.config import RandomConfig
from esper_policy_baselines.policies import RandomActor

GERMINATE = Action(op=Op.GERMINATE, slot="block1", blueprint="tanh", blend=Blend.LINEAR, reason="the test says so")


@define
class Surroundings:
    events: list = field(factory=list)
    epochs: list = field(factory=list)
    transitions: list = field(factory=list)
    stop_after: int = 99

    def emit(self, event):
        self.events.append(event)

    def epoch_end(self, host, evidence):
        self.epochs.append((host, evidence.epoch))

    def seed_transition(self, host, transition):
        self.transitions.append((host, transition.target))

    def should_stop(self):
        return len(self.epochs) >= 2 * self.stop_after


@define
class Script:
    """Plays one action per epoch and keeps what it was shown."""

    actions: dict
    seen: list = field(factory=list)

    def reset(self, begun):
        self.seen.clear()

    def decide(self, situations):
        self.seen.append(situations)
        asked = [self.actions.get(it.observation.host.epoch, ()) for it in situations]
        return [Decision(actions=[it] if isinstance(it, Action) else it) for it in asked]


@pytest.fixture
def stage_round(plan):
    """Return a function that makes two rollouts ready: `epochs` of one host under an actor, and its twin."""

    def make(actor, surroundings, *, hosts=1, twins=1, terms=(), seeds=lambda name: 0, **changes):
        changed = evolve(plan, epochs=5, **changes)

        def build(plan):
            make.hosts[plan.name] = GrowingHost(evolve(changed, name=plan.name, seed=plan.seed))
            return make.hosts[plan.name]

        def rollout(names, actor, terms):
            return Rollout(
                SerialExecutor(None, build),
                actor if isinstance(actor, Policy) else Policy(actor=actor, name="scripted 1.0"),
                plans=[Plan(name=name, seed=changed.seed + seeds(name), config={}) for name in names],
                epochs=5,
                random_guess_loss=1.386,
                services=surroundings,
                terms=terms,
            )

        controls = [f"twin{i}" for i in range(twins)] if twins > 1 else ["twin"]
        return rollout([f"grown{i}" for i in range(hosts)], actor, terms), rollout(controls, NullActor(), ())

    make.hosts = {}
    return make


def test_the_twin_goes_first_and_is_everybodys_reference(stage_round):
    around, script = Surroundings(), Script({1: GERMINATE})
    outcome = run_round(*stage_round(script, around), around, epochs=5)
    assert around.epochs == [(host, epoch) for epoch in range(5) for host in ("twin", "grown0")]
    assert outcome.twins[0].parameters < outcome.finals[0].parameters
    completed = [e for e in around.events if e.kind is EventKind.EPOCH_COMPLETED and e.host == "grown0"]
    gains = [seed["host_gain"] for event in completed for seed in event.data["seeds"]]
    assert len(gains) == 4
    assert all(gain is not None for gain in gains)
    assert not outcome.interrupted


def test_a_policy_sees_the_epoch_before_and_what_is_possible_now(stage_round):
    around, script = Surroundings(), Script({1: GERMINATE})
    run_round(*stage_round(script, around), around, epochs=5)
    observations = [situation.observation for (situation,) in script.seen]
    assert [o.host.epoch for o in observations] == [0, 1, 2, 3, 4]
    assert observations[0].host.validation_loss is None
    completed = [e for e in around.events if e.kind is EventKind.EPOCH_COMPLETED and e.host == "grown0"]
    for before, observation in zip(completed, observations[1:], strict=False):
        assert observation.host.validation_loss == before.data["validation"]["loss"]
    assert [o.slots[1].state.stage for o in observations[2:]] == [Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY]
    assert [bool(situation.masks.germinate.get("block1")) for (situation,) in script.seen] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_every_action_and_transition_can_be_traced_to_its_cause(stage_round):
    around = Surroundings()
    run_round(*stage_round(Script({1: GERMINATE}), around), around, epochs=5)
    (decided,) = [e for e in around.events if e.kind is EventKind.ACTION_DECIDED]
    assert (decided.data["id"], decided.data["policy"]) == ("grown0/1", "scripted 1.0")
    first, second = [e for e in around.events if e.kind is EventKind.SEED_TRANSITION][:2]
    assert (first.data["target"], first.data["action_id"]) == ("GERMINATED", "grown0/1")
    assert (second.data["target"], [g["gate"] for g in second.data["gates"]]) == ("TRAINING", ["G0", "G1"])
    assert [target for _, target in around.transitions][:2] == [Stage.GERMINATED, Stage.TRAINING]


def test_an_impossible_action_is_denied_on_the_record_and_the_round_goes_on(stage_round):
    around = Surroundings()
    outcome = run_round(*stage_round(Script({2: Action(op=Op.CULL, slot="block0")}), around), around, epochs=5)
    (denied,) = [e for e in around.events if e.kind is EventKind.ACTION_DENIED]
    assert (denied.host, denied.epoch, denied.data["action_id"]) == ("grown0", 2, "grown0/2")
    assert outcome.finals[0].epochs == 5


def test_a_wish_to_stop_is_granted_at_the_end_of_the_epoch(stage_round):
    around, ended = Surroundings(stop_after=2), []
    outcome = run_round(*stage_round(Script({}), around), around, epochs=5, after_epoch=ended.append)
    assert outcome.interrupted
    assert ended == [0, 1]
    assert outcome.finals[0].epochs == outcome.twins[0].epochs == 2


def test_a_round_ends_when_every_host_is_stopped(stage_round):
    around = Surroundings()
    rollout, twin = stage_round(Script({}), around)
    with torch.no_grad():
        stage_round.hosts["grown0"].model.head.bias.fill_(math.nan)
    outcome = run_round(rollout, twin, around, epochs=5)
    assert outcome.stopped == ("grown0",)
    (intervened,) = [e for e in around.events if e.kind is EventKind.GOVERNOR_INTERVENED]
    assert intervened.data["mode"] == "stopped"
    assert outcome.finals[0].epochs == 1


class Lost:
    """An evaluator that must not see one epoch go on."""

    def evaluate(self, signs):
        lost = signs.evidence.epoch == 2 and signs.evidence.host == "grown0"
        return Vote(mode=GovernorMode.STOPPED, reason="lost") if lost else Vote()


class Forgets:
    """A recurrent policy that never acts, and keeps whom it was to forget."""

    def __init__(self):
        self.forgotten = []

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision()] * len(situations)

    def forget(self, host):
        self.forgotten.append(host)

    def state(self):
        return PolicyState()

    def restore(self, state):
        pass


def test_a_rollback_ends_one_trajectory_and_the_next_step_begins_another(stage_round):
    around, watch = Surroundings(), Watches()
    policy = Policy(actor=Forgets(), name="forgets", capabilities={"stateful", "recurrent"})
    rollout, twin = stage_round(policy, around, hosts=2, terms=[term("watch", watch)], evaluators={"lost": Lost()})
    outcome = run_round(rollout, twin, around, epochs=5)

    assert (outcome.stopped, outcome.interrupted) == ((), False)
    steps = [step for step in watch.steps if step.host == "grown0"]
    assert [step.ended for step in steps] == [
        *[Ended.NONE] * 2,
        Ended.TERMINATED,
        Ended.NONE,
        Ended.TRUNCATED,
    ]
    assert [step.epoch for step in steps] == list(range(5)), "the epochs go on"
    assert [step.terminal for step in steps] == [False, False, True, False, True]
    assert all(step.twin.epoch == step.after.epoch for step in steps)
    after = steps[3]
    assert after.before is None, "what was measured before is of a network that has been given up"
    assert after.observation.host.governor is GovernorMode.CONSERVATIVE
    assert [step.ended for step in watch.steps if step.host == "grown1"] == [Ended.NONE] * 4 + [Ended.TRUNCATED]
    assert policy.actor.forgotten == ["grown0"]
    assert [final.epochs for final in outcome.finals] == [5, 5]
    assert [len(final.rollbacks) for final in outcome.finals] == [1, 0]


def test_a_rollback_is_an_event_of_its_own_after_the_epoch(stage_round):
    around = Surroundings()
    rollout, twin = stage_round(Script({2: GERMINATE}), around, evaluators={"lost": Lost()})
    run_round(rollout, twin, around, epochs=5)
    of_epoch = [e for e in around.events if e.host == "grown0" and e.epoch == 2]
    kinds = [e.kind for e in of_epoch]
    assert kinds.index(EventKind.EPOCH_COMPLETED) < kinds.index(EventKind.ROLLBACK)
    (told,) = [e.data for e in around.events if e.kind is EventKind.ROLLBACK]
    assert told == {
        "attempt": 1,
        "from_epoch": 2,
        "to_epoch": 1,
        "reason": "lost",
        "slots": {"block0": "DORMANT", "block1": "CULLED"},
    }
    (epoch,) = [e.data for e in of_epoch if e.kind is EventKind.EPOCH_COMPLETED]
    assert epoch["slots"] == told["slots"]
    assert [e.data["target"] for e in of_epoch if e.kind is EventKind.SEED_TRANSITION][-1] == "CULLED"
    modes = [e.data["mode"] for e in around.events if e.kind is EventKind.GOVERNOR_INTERVENED]
    assert modes == ["conservative", "normal"]


class Gain:
    """A reward term: by how much the validation loss has fallen, within one nat."""

    def value(self, step):
        assert step.twin is not None
        assert (step.before is None) == (step.twin_before is None) == (step.epoch == 0)
        if step.before is None:
            return 0.0
        return max(-1.0, min(1.0, step.before.validation.loss - step.after.validation.loss))


class Births:
    def value(self, step):
        return float(sum(t.target is Stage.GERMINATED for t in step.transitions))


def term(name, built, weight=1.0, low=-1.0, high=1.0):
    return WeightedTerm(name=name, term=built, weight=weight, low=low, high=high)


def test_rewards_are_weighted_terms_that_sum_up(stage_round):
    around = Surroundings()
    terms = (term("gain", Gain()), term("births", Births(), weight=-0.25))
    outcome = run_round(*stage_round(Script({1: GERMINATE}), around, terms=terms), around, epochs=5)
    rewards = [e.data for e in around.events if e.kind is EventKind.REWARD_COMPUTED]
    assert [r["terms"]["births"] for r in rewards] == [0.0, -0.25, 0.0, 0.0, 0.0]
    assert rewards[0]["terms"]["gain"] == 0.0
    assert rewards[1]["terms"]["gain"] != 0.0
    assert [r["total"] for r in rewards] == [pytest.approx(sum(r["terms"].values())) for r in rewards]
    assert outcome.rewards == (tuple(r["total"] for r in rewards),)


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf])
def test_a_term_outside_of_its_bounds_ends_the_round(stage_round, value):
    class Broken:
        def value(self, step):
            return value

    around = Surroundings()
    with pytest.raises(EsperError, match="broken") as caught:
        run_round(*stage_round(Script({}), around, terms=[term("broken", Broken())]), around, epochs=5)
    assert caught.value.code == "E503"


def test_several_hosts_of_a_round_begin_alike_and_part_by_their_actions(stage_round, plan):
    around = Surroundings()
    actor = RandomActor(RandomConfig(seed=4), plan.catalogue)
    outcome = run_round(*stage_round(actor, around, hosts=3), around, epochs=5)
    first = [e.data["train"]["loss"] for e in around.events if e.kind is EventKind.EPOCH_COMPLETED and e.epoch == 0]
    assert len(set(first)) == 1
    assert len({final.test.loss for final in outcome.finals}) > 1
    assert [final.host for final in outcome.finals] == ["grown0", "grown1", "grown2"]
    denied = [e for e in around.events if e.kind is EventKind.ACTION_DENIED]
    assert denied == []


def test_a_rollout_restored_in_the_middle_goes_on_as_if_nothing_had_been(stage_round):
    def play(resume_at=None):
        around, saved = Surroundings(), {}
        rollouts = stage_round(Script({1: GERMINATE}), around, terms=[term("gain", Gain())])

        def save(epoch):
            saved[epoch + 1] = [(rollout.capture(), rollout.state(), rollout.policy_state()) for rollout in rollouts]

        if resume_at is not None:
            for rollout, saved_state in zip(rollouts, play()[2][resume_at], strict=True):
                rollout.restore(*saved_state)
        outcome = run_round(*rollouts, around, epochs=5, after_epoch=save)
        return outcome, around, saved

    whole, _, _ = play()
    for epoch in (1, 3, 4):
        resumed, _, _ = play(resume_at=epoch)
        assert resumed.rewards == whole.rewards
        assert resumed.finals[0].test.loss == whole.finals[0].test.loss
        assert resumed.finals[0].seeds == whole.finals[0].seeds


class Watches:
    """A reward term that keeps the steps that it is shown."""

    def __init__(self):
        self.steps = []

    def value(self, step):
        self.steps.append(step)
        return 0.0


def test_a_step_holds_everything_that_happened_in_it(stage_round):
    around, watch = Surroundings(), Watches()
    run_round(*stage_round(Script({1: GERMINATE}), around, terms=[term("watch", watch)]), around, epochs=5)

    steps = watch.steps
    assert [(step.host, step.round, step.epoch, step.epochs) for step in steps] == [
        ("grown0", 0, e, 5) for e in range(5)
    ]
    assert [step.ended for step in steps] == [Ended.NONE] * 4 + [Ended.TRUNCATED]
    assert [step.observation.host.epoch for step in steps] == [0, 1, 2, 3, 4]
    assert [step.before for step in steps[1:]] == [step.after for step in steps[:-1]]
    assert [step.twin_before for step in steps[1:]] == [step.twin for step in steps[:-1]]
    assert [action.id for action in steps[1].decision.actions] == ["grown0/1"]
    assert [verdict.allowed for verdict in steps[1].verdicts] == [True]
    # What was asked for, and what came of it by itself, stand in the step in which they happened.
    assert [t.target for t in steps[1].transitions] == [Stage.GERMINATED, Stage.TRAINING]
    for step, following in pairwise(steps):
        assert step.stages_after() == following.stages_before()


def test_a_host_that_is_stopped_ends_as_terminated_with_its_reward(stage_round):
    around, watch = Surroundings(), Watches()
    script = Script({})
    rollout, twin = stage_round(script, around, hosts=2, terms=[term("watch", watch)])
    with torch.no_grad():
        stage_round.hosts["grown0"].model.head.bias.fill_(math.nan)

    outcome = run_round(rollout, twin, around, epochs=5)

    ends = [(step.host, step.epoch, step.ended) for step in watch.steps if step.ended is not Ended.NONE]
    assert ends == [("grown0", 0, Ended.TERMINATED), ("grown1", 4, Ended.TRUNCATED)]
    assert [len(rewards) for rewards in outcome.rewards] == [1, 5]
    assert [[it.host for it in seen] for seen in script.seen] == [["grown0", "grown1"]] + [["grown1"]] * 4


def test_a_host_that_fails_is_stopped_with_its_reason_and_the_others_go_on(stage_round, monkeypatch):
    around, script = Surroundings(), Script({})
    rollout, twin = stage_round(script, around, hosts=2)
    monkeypatch.setattr(stage_round.hosts["grown0"], "_train", lambda epoch: 1 / 0)

    outcome = run_round(rollout, twin, around, epochs=5)

    assert outcome.stopped == ("grown0",)
    assert [final.failure for final in outcome.finals] == ["ZeroDivisionError: division by zero", None]
    assert [final.epochs for final in outcome.finals] == [0, 5]
    assert math.isnan(outcome.finals[0].test.loss)
    assert [[it.host for it in seen] for seen in script.seen] == [["grown0", "grown1"]] + [["grown1"]] * 4
    (event,) = [e for e in around.events if e.kind is EventKind.GOVERNOR_INTERVENED]
    assert (event.host, event.data["mode"]) == ("grown0", "stopped")
    assert "division by zero" in event.data["reason"]


def test_every_host_is_measured_against_its_own_twin(stage_round):
    around, watch = Surroundings(), Watches()
    number = {"grown0": 0, "twin0": 0, "grown1": 1, "twin1": 1}
    rounds = stage_round(
        Script({1: GERMINATE}), around, hosts=2, twins=2, terms=[term("watch", watch)], seeds=number.get
    )
    outcome = run_round(*rounds, around, epochs=3)

    assert [final.host for final in outcome.twins] == ["twin0", "twin1"]
    assert {(step.host, step.twin.host) for step in watch.steps} == {("grown0", "twin0"), ("grown1", "twin1")}
    first = {step.host: step for step in watch.steps if step.epoch == 0}
    for step in first.values():
        # Before anything grows, a host is its twin.
        assert step.after.validation.loss == step.twin.validation.loss
    assert first["grown0"].after.validation.loss != first["grown1"].after.validation.loss
    later = [step for step in watch.steps if step.epoch == 2]
    assert [step.twin_before.host for step in later] == ["twin0", "twin1"]


def test_what_an_executor_has_to_say_is_a_notice_of_the_host(stage_round, monkeypatch):
    around = Surroundings()
    rollout, twin = stage_round(Script({}), around)
    host = stage_round.hosts["grown0"]
    epoch = host.epoch
    monkeypatch.setattr(host, "epoch", lambda reference: evolve(epoch(reference), notices=("it was started again",)))
    run_round(rollout, twin, around, epochs=2)
    said = [(e.host, e.epoch, e.data["message"]) for e in around.events if e.kind is EventKind.NOTICE]
    assert said == [("grown0", epoch, "it was started again") for epoch in range(2)]


def test_a_host_that_has_failed_does_not_say_again_what_was_found_before(stage_round, monkeypatch):
    around = Surroundings()
    rollout, twin = stage_round(Script({}), around, hosts=2)
    host = stage_round.hosts["grown0"]
    epoch = host.epoch
    finding = Finding(diagnostic="probe", data={})

    def once(reference):
        return evolve(epoch(reference), findings=(finding,)) if host.grower.epoch == 0 else 1 / 0

    monkeypatch.setattr(host, "epoch", once)
    run_round(rollout, twin, around, epochs=4)
    assert [e.epoch for e in around.events if e.kind is EventKind.DIAGNOSED] == [0]


def test_when_every_host_has_failed_the_round_ends_with_what_they_raised(stage_round, monkeypatch):
    rollout, twin = stage_round(Script({}), Surroundings(), hosts=2)
    monkeypatch.setattr(stage_round.hosts["grown0"], "_train", lambda epoch: 1 / 0)
    monkeypatch.setattr(stage_round.hosts["grown1"], "_train", lambda epoch: [][1])
    with pytest.raises(EsperError, match='host "grown0" has failed in epoch 1: ZeroDivisionError') as raised:
        run_round(rollout, twin, Surroundings(), epochs=5)
    assert raised.value.code == "E540"
    assert '"grown1": IndexError' in raised.value.why
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_several_actions_of_one_epoch_are_each_reviewed_on_what_the_others_left(stage_round):
    around, watch = Surroundings(), Watches()
    both = (GERMINATE, evolve(GERMINATE, slot="block0"))
    limits = GrowthLimits(max_live_seeds=1)
    rounds = stage_round(Script({1: both}), around, terms=[term("watch", watch)], limits=limits)
    run_round(*rounds, around, epochs=3)

    step = watch.steps[1]
    assert step.masks.slots_for(Op.GERMINATE) == {"block0", "block1"}
    assert [action.id for action in step.decision.actions] == ["grown0/1", "grown0/1/1"]
    assert [verdict.allowed for verdict in step.verdicts] == [True, False]
    (denied,) = [e for e in around.events if e.kind is EventKind.ACTION_DENIED]
    assert denied.data["action_id"] == "grown0/1/1"
    signals = {slot.slot: slot for slot in watch.steps[2].observation.slots}
    assert (signals["block1"].verdict.allowed, signals["block0"].verdict.allowed) == (True, False)
    assert signals["block0"].command.op is Op.GERMINATE


def test_what_was_decided_for_an_epoch_is_saved_with_what_the_policy_has_noted(stage_round):
    class Notes(NullActor):
        def decide(self, situations):
            return [
                Decision(actions=[Action(reason="not yet")], memo={"value": 0.5, "hidden": torch.arange(3.0)})
                for _ in situations
            ]

    watch = Watches()
    rollout, _ = stage_round(Notes(), Surroundings(), terms=[term("watch", watch)])
    rollout.decide()
    resumed, _ = stage_round(Notes(), Surroundings(), terms=[term("watch", watch)])
    resumed.restore(rollout.capture(), rollout.state(), None)

    (before,), (after,) = rollout.decided, resumed.decided
    assert (after.situation, after.applied) == (before.situation, before.applied)
    assert after.decision.actions == before.decision.actions
    resumed.conclude(resumed._executor.epoch([None]))
    (step,) = watch.steps
    assert step.decision.memo["value"] == 0.5
    assert torch.equal(step.decision.memo["hidden"], torch.arange(3.0))


def test_two_actions_for_one_slot_are_no_decision():
    with pytest.raises(ValueError, match="different slots"):
        Decision(actions=[GERMINATE, Action(op=Op.CULL, slot="block1")])


def test_what_a_policy_remembers_goes_on_with_the_rollout(stage_round):
    class Counts(NullActor):
        asked = 0

        def decide(self, situations):
            self.asked += 1
            return super().decide(situations)

        def state(self):
            return PolicyState(tensors={"asked": torch.tensor(self.asked)})

        def restore(self, state):
            self.asked = int(state.tensors["asked"])

    def staged(actor):
        policy = Policy(actor=actor, capabilities=frozenset({"stateful"}))
        return stage_round(policy, Surroundings())

    first, second = Counts(), Counts()
    rollout, _ = staged(first)
    rollout.step()
    resumed, _ = staged(second)
    resumed.restore(rollout.capture(), rollout.state(), rollout.policy_state())
    assert second.asked == first.asked == 1
