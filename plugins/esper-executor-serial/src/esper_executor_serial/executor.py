"""The executor that runs one host after the other."""

from collections.abc import Sequence

from esper_core.api import (
    Action,
    ApplyReport,
    Evidence,
    FinalReport,
    HostBuilder,
    HostReport,
    HostRunner,
    HostState,
    Plan,
)


class SerialExecutor:
    """One host after the other, in this process and thread.

    Args:
        config: it has no options.
        build: makes a host of its plan.
    """

    def __init__(self, config: None, build: HostBuilder) -> None:
        self._build = build
        self._runners: tuple[HostRunner, ...] = ()

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the hosts and return how they stand. Raises whatever keeps one from being built."""
        self._runners = tuple(HostRunner(plan, self._build) for plan in plans)
        return self.reports()

    def reports(self) -> list[HostReport]:
        """Return how the hosts stand and what came of the last epoch."""
        return [runner.report() for runner in self._runners]

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host its actions, in order."""
        return [runner.apply(asked) for runner, asked in zip(self._runners, actions, strict=True)]

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Train every host for one epoch."""
        return [runner.epoch(reference) for runner, reference in zip(self._runners, references, strict=True)]

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        return [runner.finish() for runner in self._runners]

    def capture(self) -> list[HostState]:
        """Return every host's state."""
        return [runner.capture() for runner in self._runners]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host to a captured state. Raises EsperError E502 if a state does not fit its host."""
        return [runner.restore(state) for runner, state in zip(self._runners, states, strict=True)]

    def close(self) -> None:
        """Let go of the hosts."""
        self._runners = ()
