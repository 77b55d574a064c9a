"""What sinks are told that is no event: it depends on the clock, and a run's log does not."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from esper_core.leyline.protocols import ShowsProgress


@runtime_checkable
class ShowsCheckpoints(Protocol):
    """A sink that also shows when the run was saved."""

    def checkpoint(self, epoch: int, began: float, ended: float) -> None:
        """Learn that the run was saved as it stood after an epoch.

        Args:
            epoch: the epoch, from 0.
            began, ended: when saving began and ended, in seconds since 1970.
        """
        ...


#: The methods of sinks with which they are told, and the protocols that say which sinks have them.
CALLBACKS: Mapping[str, type] = {"progress": ShowsProgress, "checkpoint": ShowsCheckpoints}

#: Of these only the newest counts.
NEWEST = frozenset({"progress"})
