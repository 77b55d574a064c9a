"""The executor that trains hosts side by side, in worker processes."""

import os

from esper_core.api import EsperError, HostBuilder
from esper_executor_processes.config import ProcessesConfig
from esper_executor_processes.pool import WorkerPool
from esper_executor_processes.remote_executor import RemoteExecutor


class ProcessesExecutor(RemoteExecutor):
    """Hosts in worker processes of this machine; one that ends is started again.

    Args:
        config: how many workers, and what happens when one is lost.
        build: makes a host of its plan, in a worker.
        pool: the workers of another executor; None: workers of its own.

    Raises:
        EsperError: E161 where processes cannot be forked.
    """

    def __init__(self, config: ProcessesConfig, build: HostBuilder, pool: WorkerPool | None = None) -> None:
        if not hasattr(os, "fork"):
            why = "this system cannot fork processes"
            raise EsperError("E161", 'executor "processes" cannot run here', why=why, fix="--executor serial")
        self._pool = WorkerPool(build, config) if pool is None else pool
        super().__init__(self._pool, restarts=config.restarts, capture_every=config.capture_every)

    def sibling(self) -> "ProcessesExecutor":
        """Return another executor in the same processes."""
        return ProcessesExecutor(self._pool.config, self._pool.build, self._pool)

    @property
    def pool(self) -> WorkerPool:
        """Its worker processes."""
        return self._pool
