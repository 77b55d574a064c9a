"""What an actor does: it makes hosts, and does with them as it is asked."""

import os

import ray

from esper_core.api import HostBuilder, HostRunner
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.worker import Key, answer


class HostActor:
    """A Ray actor with hosts of one or several executors.

    Args:
        build: makes them.
    """

    def __init__(self, build: HostBuilder) -> None:
        import torch

        torch.set_num_threads(1)  # a run that wants more sets them as it makes its hosts
        self._runners: dict[Key, HostRunner] = {}
        self._build = build

    def where(self) -> tuple[str, str, int]:
        """Return the node of the cluster, its machine, and the id of the process."""
        return ray.get_runtime_context().get_node_id(), os.uname().nodename, os.getpid()

    def answer(self, request: bytes) -> bytes:
        """Answer a request."""
        return dumps(answer(loads(request), self._runners, lambda: self._build))

    def forget(self, executor: int) -> None:
        """Let go of the hosts of an executor."""
        for key in [key for key in self._runners if key[0] == executor]:
            del self._runners[key]
