"""Wrong policies, one for each check."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import frozen

from esper_core.api import (
    WAIT,
    Action,
    ActionMasks,
    Blend,
    Choice,
    Decision,
    Explanation,
    Observation,
    Op,
    PolicyState,
    Round,
    Situation,
    Stage,
    Trajectory,
)
from esper_core.specs import PolicySpec
from esper_testing import PolicySubject


class Right:
    """A right policy: germinates where it may, the first blueprint by name, in the slots in turn."""

    def __init__(self, config: None, catalogue: Any) -> None:
        self.turn = 0

    def reset(self, begun: Round) -> None:
        self.turn = 0

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        self.turn += 1
        return [Decision(actions=[self.one(it.observation, it.masks)]) for it in situations]

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        if not (slots := sorted(masks.slots_for(Op.GERMINATE))):
            return WAIT
        slot, blend = slots[self.turn % len(slots)], masks.blends[self.turn % len(masks.blends)]
        return Action(op=Op.GERMINATE, slot=slot, blueprint=min(masks.blueprints_for(slot)), blend=blend)

    def state(self) -> PolicyState:
        return PolicyState(record={"turn": self.turn})

    def restore(self, state: PolicyState) -> None:
        self.turn = state.record["turn"]


class Learns(Right):
    """A right learner: the better a round was, the more slots it germinates at once. It remembers hosts one by one."""

    rounds = 2

    def __init__(self, config: None, catalogue: Any) -> None:
        super().__init__(config, catalogue)
        self.worth = torch.zeros(1)
        self.seen: dict[str, int] = {}

    def reset(self, begun: Round) -> None:
        super().reset(begun)
        self.seen = dict.fromkeys(begun.hosts, 0)

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        for situation in situations:
            self.seen[situation.host] += 1
        return [
            Decision(actions=[self.one(it.observation, it.masks)] if self.acts(it.host) else [], memo={"at": self.turn})
            for it in situations
        ]

    def acts(self, host: str) -> bool:
        return self.seen[host] % 3 == 0 or self.worth.item() > self.seen[host] % 5

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        steps = [step for trajectory in trajectories for step in trajectory.steps]
        assert all("at" in step.decision.memo for step in steps)
        self.worth = self.worth + sum(step.reward.total if step.reward else 0.0 for step in steps)
        return {"worth": self.worth.item()}

    def forget(self, host: str) -> None:
        self.seen[host] = 0

    def state(self) -> PolicyState:
        return PolicyState(tensors={"worth": self.worth}, record={"turn": self.turn, "seen": self.seen})

    def restore(self, state: PolicyState) -> None:
        super().restore(state)
        self.worth, self.seen = state.tensors["worth"], dict(state.record["seen"])


class Explains(Right):
    """A right policy that says what it will do: the one thing, for sure."""

    def explain(self, situation: Situation) -> Explanation:
        self.turn += 1
        action = self.one(situation.observation, situation.masks)
        self.turn -= 1
        return Explanation(choices=(Choice(action=action, probability=1.0),))


class ExplainsAsIfAsked(Explains):
    def explain(self, situation: Situation) -> Explanation:
        explanation = super().explain(situation)
        self.turn += 1
        return explanation


class ExplainsOneHead(Explains):
    def explain(self, situation: Situation) -> Explanation:
        (choice,) = super().explain(situation).choices
        return Explanation(choices=(choice, Choice(action=WAIT, probability=0.5)))


class ExplainsAnother(Explains):
    def explain(self, situation: Situation) -> Explanation:
        return Explanation(choices=(Choice(action=WAIT, probability=1.0),))


class ExplainsTheImpossible(Explains):
    def explain(self, situation: Situation) -> Explanation:
        return Explanation(choices=(Choice(action=Action(op=Op.CULL, slot="nowhere"), probability=1.0),))


class ForgetsAll(Learns):
    def forget(self, host: str) -> None:
        self.seen = dict.fromkeys(self.seen, 0)


class LearnsNothingFinite(Learns):
    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        return super().learn(trajectories) | {"loss": float("nan")}


class WantsNoRound(Learns):
    rounds = 0


class ShufflesGlobally(Learns):
    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        super().learn(random.sample(trajectories, k=len(trajectories)))
        return {}


class DrawsWeights(Learns):
    def __init__(self, config: None, catalogue: Any) -> None:
        super().__init__(config, catalogue)
        self.worth = torch.tensor([random.Random().random()])


class LosesWhatItLearned(Learns):
    def restore(self, state: PolicyState) -> None:
        super().restore(state)
        self.worth = torch.zeros(1)


class SavesNumbersAsTensors(Learns):
    def state(self) -> PolicyState:
        return PolicyState(tensors={"turn": 1})


class DecidesOnce(Right):
    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        return super().decide(situations)[:1]


class GivesActions(Right):
    def decide(self, situations: Sequence[Situation]) -> Any:
        return [WAIT for _ in situations]


class CountsHosts(Right):
    def reset(self, begun: Round) -> None:
        super().reset(begun)
        self.hosts = begun.hosts

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        decisions = super().decide(situations)
        return [decision for _, decision in zip(self.hosts, decisions, strict=True)]


class IgnoresMasks(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        live = [slot.slot for slot in observation.slots if slot.state.stage is Stage.PROBATIONARY]
        return Action(op=Op.FOSSILIZE, slot=live[0]) if live else WAIT


class ForgetsBlend(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        action = super().one(observation, masks)
        return Action(op=action.op, slot=action.slot, blueprint=action.blueprint, blend=Blend.LINEAR)


class MustAct(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        return super().one(observation, masks) if len(masks.ops()) > 1 else Action(op=Op.CULL, slot=masks.slots[0])


class RemembersSlots(Right):
    slot = "site0"

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        return super().one(observation, masks) if masks.slots else Action(op=Op.CULL, slot=self.slot)


class ReckonsWithNone(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        accuracy: Any = observation.host.train_accuracy
        return WAIT if masks.slots_for(Op.GERMINATE) and accuracy > 0.9 else super().one(observation, masks)


class DrawsGlobally(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        return WAIT if random.random() < 0.5 else super().one(observation, masks)


class SeedsGlobally(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        random.seed(observation.host.epoch)
        return super().one(observation, masks)


class SavesNothing(Right):
    def state(self) -> PolicyState:
        return PolicyState(record={"turn": 1})


class Stateless:
    """A right policy that remembers nothing: what it does follows from the epoch."""

    def __init__(self, config: Any, catalogue: Any) -> None:
        pass

    def reset(self, begun: Round) -> None:
        pass

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        return [Decision(actions=[self.one(it.observation, it.masks)]) for it in situations]

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        if not (slots := sorted(masks.slots_for(Op.GERMINATE))):
            return WAIT
        slot = slots[observation.host.epoch % len(slots)]
        return Action(op=Op.GERMINATE, slot=slot, blueprint=min(masks.blueprints_for(slot)), blend=masks.blends[0])


class CountsInSilence(Stateless):
    """Waits after each second germination, and says nothing of its count."""

    def __init__(self, config: Any, catalogue: Any) -> None:
        self.count = 0

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        self.count += 1
        return super().one(observation, masks) if self.count % 4 else WAIT


class CountsRounds(Stateless):
    def __init__(self, config: Any, catalogue: Any) -> None:
        self.rounds_begun = 0

    def reset(self, begun: Round) -> None:
        self.rounds_begun += 1

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        return super().one(observation, masks) if self.rounds_begun < 3 else WAIT


class SavesTheFirstTurns(Right):
    """Its state is right as long as a short test lasts."""

    def state(self) -> PolicyState:
        return PolicyState(record={"turn": min(self.turn, 101)})


class ForgetsItsLastHost(Learns):
    def state(self) -> PolicyState:
        state = super().state()
        return PolicyState(tensors=state.tensors, record={"turn": self.turn, "seen": dict.fromkeys(self.seen, 7)})


class ChangesWhenSaved(Right):
    def state(self) -> PolicyState:
        self.turn += 1
        return super().state()


class RemembersInItsClass(Right):
    """What it avoids is kept where every policy of this process finds it."""

    avoided: set[str] = set()

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        if observation.host.epoch < 75:
            RemembersInItsClass.avoided |= {"noop", "lora"}
        action = super().one(observation, masks)
        return WAIT if action.blueprint in self.avoided else action


class PicksFromSet(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        action = super().one(observation, masks)
        if action.op is not Op.GERMINATE:
            return action
        return Action(
            op=action.op, slot=action.slot, blueprint=next(iter(masks.blueprints_for(action.slot))), blend=action.blend
        )


class EmptiesMasks(Right):
    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        action = super().one(observation, masks)
        if action.slot:
            masks.germinate.pop(action.slot)
        return action


class DrawsLate(Right):
    calls = 0

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        DrawsLate.calls += 1
        if DrawsLate.calls % 1500 == 0:
            random.random()
        return super().one(observation, masks)


class KeepsHistory(Right):
    def __init__(self, config: None, catalogue: Any) -> None:
        super().__init__(config, catalogue)
        self.history: list[Any] = []

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        self.history.append(repr(observation))
        return super().one(observation, masks)


@frozen(kw_only=True)
class Options:
    """Of a policy that does not read them."""

    courage: float = 0.5


def optional(factory: Callable[..., Any]) -> PolicySubject:
    return PolicySubject(spec=PolicySpec(name="mutant", summary="Wrong.", factory=factory, config=Options))


def bare(factory: Callable[..., Any]) -> PolicySubject:
    return PolicySubject(spec=PolicySpec(name="mutant", summary="Wrong.", factory=factory))


def subject(factory: Callable[..., Any], *capabilities: str) -> PolicySubject:
    return PolicySubject(
        spec=PolicySpec(name="mutant", summary="Wrong.", factory=factory, capabilities=capabilities or {"stateful"})
    )


ALL = ("stateful", "recurrent", "learns")

RIGHT = [subject(Right), subject(Explains), subject(Learns, *ALL), bare(Stateless)]

MUTANTS = {
    "policy-capabilities": [
        (subject(Right, "random"), 'it offers state and restore and does not declare "stateful"'),
        (subject(Right, "stateful", "recurrent"), 'it declares "recurrent" and does not offer forget'),
        (subject(Right, *ALL), 'it declares "recurrent" and does not offer forget'),
    ],
    "policy-hosts": [
        (subject(DecidesOnce), r"answered 2 situations with \[Decision\("),
        (subject(GivesActions), r"answered a situation with Action\("),
        (subject(CountsHosts), "ValueError: zip"),
    ],
    "policy-allowed": [
        (subject(IgnoresMasks), "it asks for FOSSILIZE in site"),
        (subject(ForgetsBlend), "it asks for GERMINATE lora in site"),
    ],
    "policy-waits": [(subject(MustAct), "nothing is possible, and it asks for CULL in site0")],
    "policy-no-slots": [(subject(RemembersSlots), "a host has no slots, and it asks for CULL in site0")],
    "policy-unmeasured": [(subject(ReckonsWithNone), "'>' not supported between instances of 'NoneType' and 'float'")],
    "policy-deterministic": [
        (subject(DrawsGlobally), "built alike, one asks for"),
        (subject(SeedsGlobally), "deciding changed random's global generator"),
    ],
    "policy-resumes": [
        (subject(SavesNothing), "after its state was saved and restored it asks for"),
        (subject(SavesNumbersAsTensors, *ALL), "its state has turn among the tensors"),
    ],
    "policy-forgets": [(subject(ForgetsAll, *ALL), "another host was forgotten, and it asks for")],
    "policy-explains": [
        (subject(ExplainsAsIfAsked), "which is not among the actions|otherwise after it was asked"),
        (subject(ExplainsOneHead), r"its probabilities are \[1.0, 0.5\]"),
        (subject(ExplainsAnother), "which is not among the actions that it may choose"),
        (subject(ExplainsTheImpossible), "which is not possible"),
    ],
    "policy-learns": [
        (subject(LearnsNothingFinite, *ALL), "'loss': nan"),
        (subject(WantsNoRound, *ALL), "it wants 0 rounds"),
    ],
    "policy-learns-alike": [
        (subject(ShufflesGlobally, *ALL), "learning changed random's global generator"),
        (subject(DrawsWeights, *ALL), "built alike, one learned with"),
    ],
    "policy-learning-resumes": [(subject(LosesWhatItLearned, *ALL), "after its state was saved and restored it")],
    "policy-memoryless": [
        (bare(CountsInSilence), r"built again before epoch \d+ of round 0, it decides otherwise"),
        (bare(CountsRounds), "built again before epoch 0 of round 1, it decides otherwise|of round 2"),
    ],
    "policy-resumes-anywhere": [
        (subject(SavesTheFirstTurns), "after its state was saved and restored it asks for"),
        (subject(ForgetsItsLastHost, *ALL), "after its state was saved|restored, its state is another one"),
        (subject(ChangesWhenSaved), "restored, its state is another one than the one that was saved"),
    ],
    "policy-resumes-elsewhere": [
        (subject(RemembersInItsClass), "restored in another process it decides otherwise"),
    ],
    "component-input-untouched": [(subject(EmptiesMasks), "have changed, such as one that is now")],
    "component-many-calls": [(subject(DrawsLate), "changed random's global generator")],
    "component-memory": [(subject(KeepsHistory), "bytes more with each use")],
    "component-processes": [(subject(PicksFromSet), "in two processes")],
    "component-options-used": [(optional(Stateless), "nobody reads the option courage")],
}
