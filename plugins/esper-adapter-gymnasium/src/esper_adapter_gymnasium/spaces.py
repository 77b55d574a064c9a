"""The two action spaces: `flat`, one number for each action, and `factored`, operation, slot and blueprint."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from attrs import frozen
from gymnasium import spaces
from numpy.typing import NDArray

from esper_core.api import EsperError, Op, did_you_mean

Flags = NDArray[np.bool_]


class ActionSpace(StrEnum):
    """``FLAT``: Discrete, with exact masks. ``FACTORED``: MultiDiscrete, with a mask for each part."""

    FLAT = "flat"
    FACTORED = "factored"


def action_space(name: str) -> ActionSpace:
    """Return the action space of this name. Raises EsperError E204 if there is none."""
    if name not in list(ActionSpace):
        raise EsperError("E204", f'there is no action space "{name}"', why=did_you_mean(name, list(ActionSpace)))
    return ActionSpace(name)


@frozen(eq=False)
class ActionCoder:
    """Numbers of actions, and what an agent gives for them.

    Args:
        kind: the action space.
        actions: all of them in order: operation, slot, blueprint from 1 (0 without one); waiting is the first.
        slots, blueprints: how many there are.
    """

    kind: ActionSpace
    actions: Sequence[tuple[Op, int, int]]
    slots: int
    blueprints: int

    @property
    def space(self) -> "spaces.Discrete[Any] | spaces.MultiDiscrete[Any]":
        """The space of one host."""
        if self.kind is ActionSpace.FLAT:
            return spaces.Discrete(len(self.actions))
        return spaces.MultiDiscrete([len(Op), self.slots, self.blueprints])

    @property
    def mask_size(self) -> int:
        """Length of a mask: one for each action, or for each choice of each part."""
        return len(self.actions) if self.kind is ActionSpace.FLAT else len(Op) + self.slots + self.blueprints

    def number(self, given: Any) -> int:
        """Return the number of an action; parts that the operation does not use do not matter."""
        if self.kind is ActionSpace.FLAT:
            return int(given)
        op, slot, blueprint = Op(int(given[0])), int(given[1]), int(given[2]) + 1
        if op is Op.WAIT:
            return 0
        return self.actions.index((op, slot, blueprint if op is Op.GERMINATE else 0))

    def mask(self, possible: Flags) -> Flags:
        """Return the mask of a host for which these actions, (A,), are possible.

        In a `factored` space each part's choices that lead to some possible action: combinations may be impossible.
        """
        if self.kind is ActionSpace.FLAT:
            return possible
        made = np.zeros(self.mask_size, dtype=bool)
        parts = made[: len(Op)], made[len(Op) : len(Op) + self.slots], made[len(Op) + self.slots :]
        for (op, slot, blueprint), allowed in zip(self.actions, possible, strict=True):
            if allowed:
                parts[0][op] = True
                if op is not Op.WAIT:
                    parts[1][slot] = True
                if blueprint:
                    parts[2][blueprint - 1] = True
        for part in parts:
            # A part without a choice is not used.
            part |= not part.any()
        return made
