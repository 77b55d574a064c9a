"""What a policy declares is what it can do, and what it answers is looked at."""

import pytest

from esper_core.leyline.actions import ActionMasks
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision, PolicyState, Round, Situation
from esper_core.leyline.observation import HostSignals, Observation
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy, action_id

SITUATION = Situation(
    host="a",
    observation=Observation(host=HostSignals(epoch=0, epochs=9), slots=()),
    masks=ActionMasks(slots=(), blueprints=()),
)


class Counts(NullActor):
    """Remembers how often it was asked."""

    asked = 0

    def decide(self, situations):
        self.asked += 1
        return super().decide(situations)

    def state(self):
        return PolicyState(record={"asked": self.asked})

    def restore(self, state):
        self.asked = state.record["asked"]


class Recurrent(Counts):
    def forget(self, host):
        self.forgotten = host


class Learns(Recurrent):
    rounds = 3

    def learn(self, trajectories):
        return {"trajectories": len(trajectories)}


@pytest.mark.parametrize(
    ("actor", "capabilities", "words"),
    [
        (NullActor, {"stateful"}, 'declares "stateful" and does not offer state, restore'),
        (Counts, (), 'offers state and restore and does not declare "stateful"'),
        (Recurrent, {"stateful"}, 'offers forget and does not declare "recurrent"'),
        (Learns, {"stateful", "recurrent"}, 'offers learn and rounds and does not declare "learns"'),
        (Counts, {"stateful", "learns"}, 'declares "learns" and does not offer learn, rounds'),
    ],
)
def test_what_is_declared_is_what_is_offered(actor, capabilities, words):
    with pytest.raises(EsperError) as caught:
        Policy(actor=actor(), name="odd", capabilities=frozenset(capabilities))
    assert caught.value.code == "E530"
    assert f"policy odd {words}" in str(caught.value)


def test_what_learns_or_has_a_hidden_state_must_be_saved():
    class Forgets(NullActor):
        def forget(self, host):
            pass

    with pytest.raises(EsperError, match='declares "recurrent" and not "stateful"'):
        Policy(actor=Forgets(), capabilities=frozenset({"recurrent"}))


def test_only_what_is_declared_is_asked_for():
    never = Policy(actor=NullActor())
    assert (never.state(), never.rounds, never.learn([])) == (None, 1, {})
    never.restore(None)
    never.forget("a")

    policy = Policy(actor=Learns(), capabilities=frozenset({"stateful", "recurrent", "learns"}))
    policy.reset(Round(hosts=("a",), epochs=9))
    policy.decide([SITUATION])
    policy.forget("a")
    assert policy.actor.forgotten == "a"
    assert (policy.rounds, policy.learn(())) == (3, {"trajectories": 0})
    again = Policy(actor=Learns(), capabilities=policy.capabilities)
    again.restore(policy.state())
    assert again.actor.asked == 1


@pytest.mark.parametrize(("actor", "state"), [(Counts, None), (NullActor, PolicyState())])
def test_a_state_of_another_policy_is_refused(actor, state):
    policy = Policy(actor=actor(), capabilities=frozenset({"stateful"} if actor is Counts else ()))
    with pytest.raises(EsperError) as caught:
        policy.restore(state)
    assert caught.value.code == "E502"


@pytest.mark.parametrize("answer", [[], [Decision(), Decision()], ["wait"], None, (d for d in [Decision()])])
def test_an_answer_is_one_decision_for_each_situation(answer):
    class Odd(NullActor):
        def decide(self, situations):
            return answer

    with pytest.raises(EsperError) as caught:
        Policy(actor=Odd(), name="odd").decide([SITUATION])
    assert caught.value.code == "E530"
    assert "policy odd answered" in str(caught.value)


def test_action_ids_are_unique_in_a_run_and_short_where_they_can_be():
    ids = [action_id("a", *place) for place in ((0, 3, 0), (0, 3, 1), (2, 3, 0), (2, 3, 1))]
    assert ids == ["a/3", "a/3/1", "a/round-2/3", "a/round-2/3/1"]
