"""What a policy offers that can be taught by what others did."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from esper_core.api import Trajectory


@runtime_checkable
class Imitates(Protocol):
    """Learns to decide as others did (behaviour cloning). A policy needs no capability for it beyond a memory."""

    def imitate(self, trajectories: Sequence[Trajectory], *, passes: int) -> Mapping[str, float]:
        """Raise the probability of what was decided; return figures about it.

        Args:
            trajectories: whole ones, by whichever policy, of this policy's catalogue.
            passes: over their steps.
        """
        ...
