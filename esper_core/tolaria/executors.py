"""The executor of a training in a user's own loop."""

from collections.abc import Sequence

from esper_core.leyline.actions import Action
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.executors import Host, Plan
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState


class OneHost:
    """An `Executor` around one host that is there already. What the host raises is the user's to see: it passes."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Return how the host stands.

        Raises:
            ValueError: for other plans than one of this host's name.
        """
        found = self.reports()
        if [plan.name for plan in plans] != [report.host for report in found]:
            raise ValueError(f"the plan of {found[0].host} is expected, not {[plan.name for plan in plans]}")
        return found

    def reports(self) -> list[HostReport]:
        """Return how the host stands."""
        return [self._host.report()]

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give the host its actions, in order."""
        (asked,) = actions
        return [[self._host.apply(action) for action in asked]]

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Bring one epoch to its end."""
        (reference,) = references
        return [self._host.epoch(reference)]

    def finish(self) -> list[FinalReport]:
        """Sum the host up."""
        return [self._host.finish()]

    def capture(self) -> list[HostState]:
        """Return the host's state."""
        return [self._host.capture()]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring the host to a captured state. Raises EsperError E502 if the state does not fit it."""
        (state,) = states
        self._host.restore(state)
        return self.reports()

    def close(self) -> None:
        """Do nothing: the host is the user's."""
