"""The executor that trains hosts side by side, in worker processes."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

from esper_core.api import (
    Action,
    ApplyReport,
    EsperError,
    Evidence,
    FinalReport,
    HostBuilder,
    HostReport,
    HostState,
    Plan,
)
from esper_executor_processes.config import ProcessesConfig
from esper_executor_processes.dispatch import Lost, ask_all
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.pool import WorkerPool
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_processes.worker import Call


class ProcessesExecutor:
    """Hosts in worker processes; those of one worker are trained one after the other, in the order of the plans.

    A worker that ends is started again, and its hosts are made again from the last state that was captured and from
    what they were told since: bit for bit what they were. It is said in the host's next report.

    Args:
        config: how many workers, and what happens when one is lost.
        build: makes a host of its plan, in a worker.

    Raises:
        EsperError: E161 where processes cannot be forked.
    """

    def __init__(self, config: ProcessesConfig, build: HostBuilder) -> None:
        if not hasattr(os, "fork"):
            why = "this system cannot fork processes"
            raise EsperError("E161", 'executor "processes" cannot run here', why=why, fix="--executor serial")
        self._hosts: list[RemoteHost] = []
        self._closed = False
        self._join(WorkerPool(build, config))

    def sibling(self) -> "ProcessesExecutor":
        """Return another executor in the same processes."""
        other = ProcessesExecutor(self._pool.config, self._pool.build)
        other._join(self._pool)
        return other

    @property
    def pool(self) -> WorkerPool:
        """Its worker processes."""
        return self._pool

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the hosts and return how they stand.

        Raises:
            Exception: whatever keeps a host from being built.
            EsperError: E541 if processes cannot be started, or a worker ends while it builds a host.
        """
        self._pool.open(plans)
        self._hosts = [
            RemoteHost(key=(self._number, index), place=index % self._pool.size, plan=plan)
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
        every = self._pool.config.capture_every
        calls: list[tuple[Call, ...]] = [
            (("epoch", (reference,)), *([("capture", ())] if host.due(every) else []))
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
        self._pool.leave(self._number)

    def _join(self, pool: WorkerPool) -> None:
        self._pool, self._number = pool, pool.join()

    def _ask(self, calls: Sequence[tuple[Call, ...]], lost: Lost | None = None) -> list[tuple[Any, ...]]:
        answers = ask_all(self._pool, self._hosts, calls, lost or self._lost)
        for answer in answers:
            if answer.raised is not None:
                raise answer.raised
        return [answer.values for answer in answers]

    def _lost(self, host: RemoteHost, why: str) -> None:
        host.lose(why, self._pool.config.restarts)


def _not_built(host: RemoteHost, why: str) -> None:
    what = f'the host "{host.plan.name}" cannot be built in a worker process'
    raise EsperError("E541", what, why=why, fix="build it in this process to see why: --executor serial")
