"""From situations to tensors: features and exact masks. The same function serves rollouts and updates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import fields, frozen
from torch import Tensor

from esper_core.api import Action, ActionMasks, Blend, Catalogue, EsperError, Op, Situation
from esper_learning import ObservationSchema

#: The heads in the order in which they are chosen; each one's choices depend on those before it.
HEADS = ("op", "slot", "blueprint", "blend")

OPS = tuple(Op)
BLENDS = tuple(Blend)


@frozen(eq=False, kw_only=True)
class Inputs:
    """What the network is given of hosts. Leading axes are (B,) in a rollout and (L, B) in an update.

    Attributes:
        host: (..., H) of float32, features of the host.
        slots: (..., S, F) of float32, features of each slot; S is that of the host with the most, at least 1.
        present: (..., S) of bool, False where a host has no such slot.
        op: (..., 4) of bool, the operations that are possible with some slot, blueprint and blend.
        slot: (..., 4, S) of bool, the slots on which each operation may act.
        blueprint: (..., S, K) of bool, the blueprints that may be germinated in each slot.
        blend: (..., 4) of bool, the blends on offer.
    """

    host: Tensor
    slots: Tensor
    present: Tensor
    op: Tensor
    slot: Tensor
    blueprint: Tensor
    blend: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """Return the same with each tensor put through a function."""
        return Inputs(**{it.name: function(getattr(self, it.name)) for it in fields(Inputs)})

    @staticmethod
    def empty(leading: Sequence[int], features: tuple[int, int], slots: int, blueprints: int) -> "Inputs":
        """Return inputs of zeros, with nothing possible; `features` are the numbers of a host's and of a slot's."""
        host, slot = features
        return Inputs(
            host=torch.zeros(*leading, host),
            slots=torch.zeros(*leading, slots, slot),
            present=torch.zeros(*leading, slots, dtype=torch.bool),
            op=torch.zeros(*leading, len(OPS), dtype=torch.bool),
            slot=torch.zeros(*leading, len(OPS), slots, dtype=torch.bool),
            blueprint=torch.zeros(*leading, slots, blueprints, dtype=torch.bool),
            blend=torch.zeros(*leading, len(BLENDS), dtype=torch.bool),
        )


class Encoder:
    """Knows the catalogue's order and the observation's table.

    Args:
        catalogue: the run's blueprints.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.schema = ObservationSchema(catalogue.names)  # type: ignore[arg-type]  # mypy does not know converters

    @property
    def features(self) -> tuple[int, int]:
        """How many features a host and a slot have."""
        return len(self.schema.host), len(self.schema.slot)

    def inputs(self, situations: Sequence[Situation]) -> Inputs:
        """Return what the network is given of these hosts, (B, ...)."""
        width = max((len(it.masks.slots) for it in situations), default=0)
        made = Inputs.empty((len(situations),), self.features, max(1, width), len(self.catalogue))
        # Through numpy: tensors of a few numbers each would take most of the time of a decision.
        arrays = {it.name: getattr(made, it.name).numpy() for it in fields(Inputs)}
        for row, situation in enumerate(situations):
            self._fill({name: array[row] for name, array in arrays.items()}, situation)
        return made

    def action(self, chosen: Sequence[int], masks: ActionMasks) -> Action:
        """Return the action of four choices, one for each head; what the operation does not use is left out."""
        op = OPS[chosen[0]]
        if op is Op.WAIT:
            return Action()
        slot = masks.slots[chosen[1]]
        if op is not Op.GERMINATE:
            return Action(op=op, slot=slot)
        return Action(op=op, slot=slot, blueprint=self.catalogue.names[chosen[2]], blend=BLENDS[chosen[3]])

    def chosen(self, action: Action, masks: ActionMasks) -> list[int]:
        """Return the four choices that make an action; 0 for a head that its operation does not use.

        Raises:
            EsperError: E502 if the action is not possible under the masks: it is not this host's.
        """
        if not masks.allows(action):
            raise EsperError("E502", f"a recorded {action.op.name} was not possible where it was recorded")
        slot = 0 if action.slot is None else masks.slots.index(action.slot)
        blueprint = 0 if action.blueprint is None else self.catalogue.names.index(action.blueprint)
        return [OPS.index(action.op), slot, blueprint, 0 if action.blend is None else BLENDS.index(action.blend)]

    def _fill(self, into: Mapping[str, Any], situation: Situation) -> None:
        masks = situation.masks
        names, count = masks.slots, len(masks.slots)
        host, slots = self.schema.vector(situation.observation)
        possible = {op: masks.slots_for(op) if masks.blends or op is not Op.GERMINATE else frozenset() for op in OPS}
        into["host"][:] = host
        into["op"][:] = [op is Op.WAIT or bool(possible[op]) for op in OPS]
        into["blend"][:] = [blend in masks.blends for blend in BLENDS]
        if not count:
            return
        into["present"][:count] = True
        into["slots"][:count] = slots
        into["slot"][:, :count] = [[name in possible[op] for name in names] for op in OPS]
        fitting = [masks.blueprints_for(name) for name in names]
        into["blueprint"][:count] = [[name in fit for name in self.catalogue.names] for fit in fitting]
