"""From situations to tensors: features and exact masks. The same function serves rollouts and updates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

import numpy as np
import torch
from attrs import fields, frozen
from torch import Tensor

from esper_core.api import Action, ActionMasks, Blend, Catalogue, EsperError, Observation, Op, Situation
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
        return Inputs(**{name: function(getattr(self, name)) for name in _NAMES})

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


_NAMES = tuple(it.name for it in fields(Inputs))

#: What is given of one host, by name, as numpy arrays.
_Row = Mapping[str, Any]


class Encoder:
    """Knows the catalogue's order and the observation's table.

    Args:
        catalogue: the run's blueprints.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._names = catalogue.names
        self._known: dict[int, tuple[ref[Observation], ActionMasks, _Row]] = {}
        self.schema = ObservationSchema(catalogue.names)  # type: ignore[arg-type]  # mypy does not know converters

    @property
    def features(self) -> tuple[int, int]:
        """How many features a host and a slot have."""
        return len(self.schema.host), len(self.schema.slot)

    def inputs(self, situations: Sequence[Situation]) -> Inputs:
        """Return what the network is given of these hosts, (B, ...)."""
        rows = [self._row(it) for it in situations]
        width = max((len(row["present"]) for row in rows), default=1)
        made = Inputs.empty((len(rows),), self.features, width, len(self.catalogue))
        # Through numpy: tensors of a few numbers each would take most of the time of a decision.
        for name in _NAMES:
            whole = getattr(made, name).numpy()
            for index, row in enumerate(rows):
                part = row[name]
                whole[(index, *map(slice, part.shape))] = part
        return made

    def action(self, chosen: Sequence[int], masks: ActionMasks) -> Action:
        """Return the action of four choices, one for each head; what the operation does not use is left out."""
        op = OPS[chosen[0]]
        if op is Op.WAIT:
            return Action()
        slot = masks.slots[chosen[1]]
        if op is not Op.GERMINATE:
            return Action(op=op, slot=slot)
        return Action(op=op, slot=slot, blueprint=self._names[chosen[2]], blend=BLENDS[chosen[3]])

    def chosen(self, action: Action, masks: ActionMasks) -> list[int]:
        """Return the four choices that make an action; 0 for a head that its operation does not use.

        Raises:
            EsperError: E502 if the action is not possible under the masks: it is not this host's.
        """
        if not masks.allows(action):
            raise EsperError("E502", f"a recorded {action.op.name} was not possible where it was recorded")
        slot = 0 if action.slot is None else masks.slots.index(action.slot)
        blueprint = 0 if action.blueprint is None else self._names.index(action.blueprint)
        return [OPS.index(action.op), slot, blueprint, 0 if action.blend is None else BLENDS.index(action.blend)]

    def _row(self, situation: Situation) -> _Row:
        """What is given of one host. An update is given what a decision was, so it is kept while its observation is."""
        observation, masks, key = situation.observation, situation.masks, id(situation.observation)
        if (known := self._known.get(key)) is not None and known[0]() is observation and known[1] is masks:
            return known[2]
        row = self._made(situation)
        self._known[key] = (ref(observation, lambda _: self._known.pop(key, None)), masks, row)
        return row

    def _made(self, situation: Situation) -> _Row:
        masks = situation.masks
        names, count = masks.slots, len(masks.slots)
        host, slots = self.schema.vector(situation.observation)
        possible = [masks.slots_for(op) if masks.blends or op is not Op.GERMINATE else frozenset() for op in OPS]
        op = [op is Op.WAIT or bool(some) for op, some in zip(OPS, possible, strict=True)]
        blend = [blend in masks.blends for blend in BLENDS]
        slot = [[name in some for name in names] for some in possible]
        fitting = [masks.blueprints_for(name) for name in names]
        blueprint = [[name in fit for name in self._names] for fit in fitting]
        if not count:  # the network takes one slot at least; this one is not there
            slots, slot, blueprint = [[0.0] * self.features[1]], [[False]] * len(OPS), [[False] * len(self._names)]
        numbers = {"host": host, "slots": slots}
        flags = {
            "present": [bool(count)] * max(1, count),
            "op": op,
            "slot": slot,
            "blueprint": blueprint,
            "blend": blend,
        }
        made = {name: np.array(it, dtype=np.float32) for name, it in numbers.items()}
        return made | {name: np.array(it, dtype=np.bool_) for name, it in flags.items()}
