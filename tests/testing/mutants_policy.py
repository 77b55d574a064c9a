"""Wrong policies, one for each check."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from esper_core.api import WAIT, Action, ActionMasks, Blend, Observation, Op, Stage
from esper_core.specs import PolicySpec
from esper_testing import PolicySubject


class Right:
    """A right policy: germinates where it may, the first blueprint by name, in the slots in turn."""

    def __init__(self, config: None, catalogue: Any) -> None:
        self.turn = 0

    def reset(self, hosts: int) -> None:
        self.turn = 0

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        self.turn += 1
        return [self.one(observation, mask) for observation, mask in zip(observations, masks, strict=True)]

    def one(self, observation: Observation, masks: ActionMasks) -> Action:
        if not (slots := sorted(masks.slots_for(Op.GERMINATE))):
            return WAIT
        slot, blend = slots[self.turn % len(slots)], masks.blends[self.turn % len(masks.blends)]
        return Action(op=Op.GERMINATE, slot=slot, blueprint=min(masks.blueprints_for(slot)), blend=blend)

    def state(self) -> dict[str, Any]:
        return {"turn": self.turn}

    def restore(self, state: Any) -> None:
        self.turn = state["turn"]


class DecidesOnce(Right):
    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        return super().decide(observations, masks)[:1]


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
    def state(self) -> dict[str, Any]:
        return {"turn": 1}


def subject(factory: Callable[..., Any]) -> PolicySubject:
    return PolicySubject(spec=PolicySpec(name="mutant", summary="Wrong.", factory=factory))


RIGHT = [subject(Right)]

MUTANTS = {
    "policy-hosts": [(subject(DecidesOnce), "for 2 hosts it returned 1 decisions")],
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
    "policy-resumes": [(subject(SavesNothing), "after its state was saved and restored it decides")],
}
