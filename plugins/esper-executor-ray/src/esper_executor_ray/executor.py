"""The executor that trains hosts in Ray actors."""

from esper_core.api import HostBuilder
from esper_executor_processes.remote_executor import RemoteExecutor
from esper_executor_ray.actors import Actors
from esper_executor_ray.config import RayConfig


class RayExecutor(RemoteExecutor):
    """Hosts in actors, on one machine or a cluster; where an actor or a node is lost, others take its hosts.

    Args:
        config: which cluster, and what an actor takes of it.
        build: makes a host of its plan, in an actor.
        actors: those of another executor; None: actors of its own.
    """

    def __init__(self, config: RayConfig, build: HostBuilder, actors: Actors | None = None) -> None:
        self._actors = Actors(build, config) if actors is None else actors
        super().__init__(self._actors, restarts=config.restarts, capture_every=config.capture_every)

    def sibling(self) -> "RayExecutor":
        """Return another executor with the same actors."""
        return RayExecutor(self._actors.config, self._actors.build, self._actors)

    @property
    def actors(self) -> Actors:
        """Its actors."""
        return self._actors

    @property
    def waits_for(self) -> str:
        """What it waits for while it is opened, in words; empty: nothing."""
        return self._actors.waits_for
