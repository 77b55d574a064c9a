"""The loop: who goes first, what everybody is told, when it ends."""

import math

import pytest
import torch
from attrs import define, evolve, field

from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.actors import NullActor
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Blend, Stage
from esper_core.simic.loop import run_round
from esper_core.simic.rewards import WeightedTerm
from esper_core.simic.rollout import Rollout
from esper_core.tolaria.executors import SerialExecutor
from esper_core.tolaria.host import GrowingHost
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

    def reset(self, hosts):
        self.seen.clear()

    def decide(self, observations, masks):
        self.seen.append((observations, masks))
        return [self.actions.get(observations[0].host.epoch, WAIT)] * len(observations)


@pytest.fixture
def stage_round(plan):
    """Return a function that makes two rollouts ready: `epochs` of one host under an actor, and its twin."""

    def make(actor, surroundings, *, hosts=1, terms=(), **changes):
        changed = evolve(plan, epochs=5, **changes)

        def rollout(names, actor, terms):
            return Rollout(
                SerialExecutor([GrowingHost(evolve(changed, name=name)) for name in names]),
                actor,
                policy="scripted 1.0",
                epochs=5,
                random_guess_loss=1.386,
                services=surroundings,
                terms=terms,
            )

        return rollout([f"grown{i}" for i in range(hosts)], actor, terms), rollout(["twin"], NullActor(), ())

    return make


def test_the_twin_goes_first_and_is_everybodys_reference(stage_round):
    around, script = Surroundings(), Script({1: GERMINATE})
    outcome = run_round(*stage_round(script, around), around, epochs=5)
    assert around.epochs == [(host, epoch) for epoch in range(5) for host in ("twin", "grown0")]
    assert outcome.twin.parameters < outcome.finals[0].parameters
    completed = [e for e in around.events if e.kind is EventKind.EPOCH_COMPLETED and e.host == "grown0"]
    gains = [seed["host_gain"] for event in completed for seed in event.data["seeds"]]
    assert len(gains) == 4
    assert all(gain is not None for gain in gains)
    assert not outcome.interrupted


def test_a_policy_sees_the_epoch_before_and_what_is_possible_now(stage_round):
    around, script = Surroundings(), Script({1: GERMINATE})
    run_round(*stage_round(script, around), around, epochs=5)
    observations = [observation for (observation,), _ in script.seen]
    assert [o.host.epoch for o in observations] == [0, 1, 2, 3, 4]
    assert observations[0].host.validation_loss is None
    completed = [e for e in around.events if e.kind is EventKind.EPOCH_COMPLETED and e.host == "grown0"]
    for before, observation in zip(completed, observations[1:], strict=False):
        assert observation.host.validation_loss == before.data["validation"]["loss"]
    assert [o.slots[1].state.stage for o in observations[2:]] == [Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY]
    assert [bool(m.germinate.get("block1")) for _, (m,) in script.seen] == [True, True, False, False, False]


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
    assert outcome.finals[0].epochs == outcome.twin.epochs == 2


def test_a_round_ends_when_every_host_is_stopped(stage_round):
    around = Surroundings()
    rollout, twin = stage_round(Script({}), around)
    with torch.no_grad():
        rollout._executor.hosts[0].model.head.bias.fill_(math.nan)
    outcome = run_round(rollout, twin, around, epochs=5)
    assert outcome.stopped == ("grown0",)
    (intervened,) = [e for e in around.events if e.kind is EventKind.GOVERNOR_INTERVENED]
    assert intervened.data["mode"] == "stopped"
    assert outcome.finals[0].epochs == 1


class Gain:
    """A reward term: by how much the validation loss has fallen, within one nat."""

    def value(self, before, after, transitions, twin):
        assert twin is not None
        if before is None:
            return 0.0
        return max(-1.0, min(1.0, before.validation.loss - after.validation.loss))


class Births:
    def value(self, before, after, transitions, twin):
        return float(sum(t.target is Stage.GERMINATED for t in transitions))


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
        def value(self, before, after, transitions, twin):
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
            saved[epoch + 1] = [(rollout.capture(), rollout.record()) for rollout in rollouts]

        if resume_at is not None:
            for rollout, (hosts, record) in zip(rollouts, play()[2][resume_at], strict=True):
                rollout.restore(hosts, record)
        outcome = run_round(*rollouts, around, epochs=5, after_epoch=save)
        return outcome, around, saved

    whole, _, _ = play()
    for epoch in (1, 3, 4):
        resumed, _, _ = play(resume_at=epoch)
        assert resumed.rewards == whole.rewards
        assert resumed.finals[0].test.loss == whole.finals[0].test.loss
        assert resumed.finals[0].seeds == whole.finals[0].seeds
