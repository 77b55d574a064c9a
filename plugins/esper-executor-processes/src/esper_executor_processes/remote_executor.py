"""An executor whose hosts are in workers, wherever these are."""

import warnings
from collections.abc import Sequence
from typing import Any

from esper_core.api import (
    Action,
    ApplyReport,
    EsperError,
    Evidence,
    FinalReport,
    HostReport,
    HostState,
    Plan,
)
from esper_executor_processes.dispatch import Lost, Pool, ask_all
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_processes.worker import Call


class RemoteExecutor:
    """Hosts in workers; those of one worker are trained one after the other, in the order of the plans.

    Where a worker ends and another can take its place, its hosts are made again from the last state that was captured
    and from what they were told since: bit for bit what they were. It is said in the host's next report.

    Args:
        pool: the workers.
        restarts: how often in a row, without an epoch in between, a host may lose its worker before it has failed.
        capture_every: epochs between two captured states; None: by the clock.
    """

    def __init__(self, pool: Pool, *, restarts: int, capture_every: int | None) -> None:
        self._workers = pool
        self._restarts = restarts
        self._capture_every = capture_every
        self._number = pool.join()
        self._hosts: list[RemoteHost] = []
        self._closed = False

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the hosts and return how they stand.

        Raises:
            Exception: whatever keeps a host from being built.
            EsperError: E541 if processes cannot be started, or a worker ends while it builds a host.
        """
        self._workers.open(plans)
        self._hosts = [
            RemoteHost(key=(self._number, index), place=index % self._workers.size, plan=plan)
            for index, plan in enumerate(plans)
        ]
        answers = self._ask([(("report", ()),) for _ in plans], _not_built)
        for host, (report,) in zip(self._hosts, answers, strict=True):
            host.last = report
        return [report for (report,) in answers]

    def reports(self) -> list[HostReport]:
        """Return how the hosts stand and what came of the last epoch."""
        answers = self._ask([(("report", ()),) for _ in self._hosts])
        return [host.reported(report) for host, (report,) in zip(self._hosts, answers, strict=True)]

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host its actions, in order."""
        return [answer for (answer,) in self._ask([(("apply", (list(asked),)),) for asked in actions])]

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Train every host for one epoch."""
        calls: list[tuple[Call, ...]] = [
            (("epoch", (reference,)), *([("capture", ())] if host.due(self._capture_every) else []))
            for host, reference in zip(self._hosts, references, strict=True)
        ]
        answers = self._ask(calls)
        return [host.says(report) for host, (report, *_) in zip(self._hosts, answers, strict=True)]

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        finals = [final for (final,) in self._ask([(("finish", ()),) for _ in self._hosts])]
        for host in self._hosts:
            for notice in host.notices:  # there is no further epoch to say it with
                warnings.warn(f'host "{host.plan.name}": {notice}', RuntimeWarning, stacklevel=2)
            host.notices.clear()
        return finals

    def capture(self) -> list[HostState]:
        """Return every host's state."""
        answers = self._ask([(("capture", ()),) for _ in self._hosts])
        return [loads(state) for (state,) in answers]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host to a captured state. Raises EsperError E502 if a state does not fit its host."""
        for host in self._hosts:
            host.forget()
        return [report for (report,) in self._ask([(("restore", (dumps(state),)),) for state in states])]

    def close(self) -> None:
        """Let go of the hosts; with the last executor that uses them, the processes end."""
        if self._closed:
            return
        self._closed, self._hosts = True, []
        self._workers.leave(self._number)

    def _ask(self, calls: Sequence[tuple[Call, ...]], lost: Lost | None = None) -> list[tuple[Any, ...]]:
        answers = ask_all(self._workers, self._hosts, calls, lost or self._lost)
        for answer in answers:
            if answer.raised is not None:
                raise answer.raised
        return [answer.values for answer in answers]

    def _lost(self, host: RemoteHost, why: str) -> None:
        host.lose(why, self._restarts)


def _not_built(host: RemoteHost, why: str) -> None:
    what = f'the host "{host.plan.name}" cannot be built in a worker process'
    raise EsperError("E541", what, why=why, fix="build it in this process to see why: --executor serial")
