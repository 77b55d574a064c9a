"""Executors: maps over growing hosts."""

from collections.abc import Sequence
from typing import Protocol

from esper_core.leyline.actions import Action
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState


class Executor(Protocol):
    """Runs several growing hosts in step. Reports are in the order of the hosts."""

    def open(self) -> list[HostReport]:
        """Make the hosts ready and return how they stand."""
        ...

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host its actions, in order."""
        ...

    def epoch(self, reference: Evidence | None = None) -> list[HostReport]:
        """Train every host for one epoch; `reference` is the twin's evidence for it."""
        ...

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        ...

    def capture(self) -> list[HostState]:
        """Return every host's state."""
        ...

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host to a captured state and return how they stand."""
        ...


class Host(Protocol):
    """One growing host, whoever trains it."""

    def report(self) -> HostReport:
        """Return how it stands and what came of the epoch that has just run."""
        ...

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        ...

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Bring one epoch to its end."""
        ...

    def finish(self) -> FinalReport:
        """Sum it up."""
        ...

    def capture(self) -> HostState:
        """Return its state."""
        ...

    def restore(self, state: HostState) -> None:
        """Bring it to a captured state."""
        ...


class SerialExecutor:
    """One host after the other, in this process and thread."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = tuple(hosts)

    def open(self) -> list[HostReport]:
        """Return how the hosts stand."""
        return [host.report() for host in self.hosts]

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host its actions, in order."""
        return [[host.apply(action) for action in asked] for host, asked in zip(self.hosts, actions, strict=True)]

    def epoch(self, reference: Evidence | None = None) -> list[HostReport]:
        """Train every host for one epoch."""
        return [host.epoch(reference) for host in self.hosts]

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        return [host.finish() for host in self.hosts]

    def capture(self) -> list[HostState]:
        """Return every host's state."""
        return [host.capture() for host in self.hosts]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host to a captured state and return how they stand."""
        for host, state in zip(self.hosts, states, strict=True):
            host.restore(state)
        return self.open()
