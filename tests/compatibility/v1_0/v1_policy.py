"""A policy as plugin API 1.0 has it, with a memory of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from esper_core.api import WAIT, Action, ActionMasks, Catalogue, Observation, Op
from esper_core.hooks import hookimpl
from esper_core.specs import PolicySpec

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options of the policy."""

    seeds: int = 2


class Eager:
    def __init__(self, config: Options, catalogue: Catalogue) -> None:
        self.limit = config.seeds
        self.order = catalogue.names
        self.germinated: list[int] = []

    def reset(self, hosts: int) -> None:
        self.germinated = [0] * hosts

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        return [self._decide(host, mask) for host, mask in enumerate(masks)]

    def state(self) -> Mapping[str, Any]:
        return {"germinated": list(self.germinated)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.germinated = list(state["germinated"])

    def _decide(self, host: int, mask: ActionMasks) -> Action:
        for slot in sorted(mask.slots_for(Op.FOSSILIZE)):
            return Action(op=Op.FOSSILIZE, slot=slot, reason="it may stay")
        for slot in sorted(mask.slots_for(Op.GERMINATE)):
            if self.germinated[host] < self.limit and mask.blends:
                self.germinated[host] += 1
                fitting = mask.blueprints_for(slot)
                blueprint = next(name for name in self.order if name in fitting)
                return Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=mask.blends[0])
        return WAIT


@hookimpl
def esper_policies():
    yield PolicySpec(name="v1", summary="Germinate early.", factory=Eager, config=Options)
