"""An executor that runs each host in a process of its own: proof that only plain data crosses its border."""

import pickle
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from attrs import evolve

from esper_core.api import HostReport, HostRunner, Plan


def serve(connection: Connection) -> None:
    """Make the host of a plan, and do as is asked until the other side is gone."""
    runner: HostRunner | None = None
    while True:
        try:
            call, *arguments = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            if call == "open":
                plan, build = arguments
                runner = HostRunner(plan, build)
                answer = runner.report()
            else:
                answer = getattr(runner, call)(*arguments)
        except Exception as error:
            answer = error
        if isinstance(answer, HostReport):
            # What was raised need not survive pickling; its text is the reason.
            answer = evolve(answer, cause=None)
        connection.send_bytes(pickle.dumps(answer))


class SpawnedExecutor:
    """One spawned process for each host; they run at the same time."""

    def __init__(self, config: None, build: Callable[[Plan], Any]) -> None:
        self._build = build
        self._workers: list[tuple[Any, Connection]] = []

    def open(self, plans: Sequence[Plan]) -> list[Any]:
        context = get_context("spawn")
        for _ in plans:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        return self._ask("open", *([plan, self._build] for plan in plans))

    def reports(self) -> list[Any]:
        return self._ask("report", *([] for _ in self._workers))

    def apply(self, actions: Sequence[Any]) -> list[Any]:
        return self._ask("apply", *([asked] for asked in actions))

    def epoch(self, references: Sequence[Any]) -> list[Any]:
        return self._ask("epoch", *([reference] for reference in references))

    def finish(self) -> list[Any]:
        return self._ask("finish", *([] for _ in self._workers))

    def capture(self) -> list[Any]:
        return self._ask("capture", *([] for _ in self._workers))

    def restore(self, states: Sequence[Any]) -> list[Any]:
        return self._ask("restore", *([state] for state in states))

    def close(self) -> None:
        for process, connection in self._workers:
            connection.close()
            process.join()
        self._workers = []

    def _ask(self, call: str, *arguments: list[Any]) -> list[Any]:
        for (_, connection), of_one in zip(self._workers, arguments, strict=True):
            connection.send_bytes(pickle.dumps((call, *of_one)))
        answers = [pickle.loads(connection.recv_bytes()) for _, connection in self._workers]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers
