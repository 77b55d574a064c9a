"""What a policy may offer besides learning from its own rounds."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from esper_core.api import Trajectory


@runtime_checkable
class LearnsReplayed(Protocol):
    """A learner that also learns from what other versions of it have decided, and corrects for the difference."""

    def learn_replayed(
        self, trajectories: Sequence[Trajectory], weights: Sequence[float]
    ) -> tuple[Mapping[str, float], Sequence[float]]:
        """Learn from trajectories that were drawn by their priorities.

        Args:
            trajectories: complete, each of a host of its own.
            weights: their importance weights, by which their losses are multiplied.

        Returns:
            Figures by name, and a new priority for each trajectory, above 0.
        """
        ...
