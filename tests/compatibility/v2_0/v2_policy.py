"""A policy as plugin API 2.0 has it, with a memory of its own."""

from collections.abc import Sequence

from attrs import frozen

from esper_core.api import Action, ActionMasks, Catalogue, Decision, Op, PolicyState, Round, Situation
from esper_core.hooks import hookimpl
from esper_core.specs import PolicySpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Options:
    """Options of the policy."""

    seeds: int = 2


class Eager:
    def __init__(self, config: Options, catalogue: Catalogue) -> None:
        self.limit = config.seeds
        self.order = catalogue.names
        self.germinated: dict[str, int] = {}

    def reset(self, begun: Round) -> None:
        self.germinated = dict.fromkeys(begun.hosts, 0)

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        return [Decision(actions=self._actions(it.host, it.masks)) for it in situations]

    def state(self) -> PolicyState:
        return PolicyState(record={"germinated": dict(self.germinated)})

    def restore(self, state: PolicyState) -> None:
        self.germinated = dict(state.record["germinated"])

    def _actions(self, host: str, masks: ActionMasks) -> list[Action]:
        actions = [
            Action(op=Op.FOSSILIZE, slot=slot, reason="it may stay") for slot in sorted(masks.slots_for(Op.FOSSILIZE))
        ]
        for slot in sorted(masks.slots_for(Op.GERMINATE)):
            if self.germinated[host] < self.limit and masks.blends:
                self.germinated[host] += 1
                fitting = masks.blueprints_for(slot)
                blueprint = next(name for name in self.order if name in fitting)
                actions.append(Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=masks.blends[0]))
        return actions


@hookimpl
def esper_policies():
    yield PolicySpec(
        name="v2", summary="Germinate early.", factory=Eager, config=Options, capabilities={"stateful"}
    )
