"""The seam for looking at what plugins do while a run goes on (``esper run --check-plugins``)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from esper_core.leyline.optional import optional_part
from esper_core.leyline.protocols import Sink
from esper_core.plugins.registry import Registry

if TYPE_CHECKING:
    from esper_app.execution.assembly import Assembly


class Watch(Protocol):
    """Stands between a run and its parts. It only reads, so the run is the same with and without it."""

    def over(self, assembly: "Assembly") -> "Assembly":
        """Return the same run with each part behind its checks. Raises EsperError E530 for unsound data."""
        ...

    def over_sinks(self, sinks: Mapping[str, Sink], registry: Registry) -> dict[str, Sink]:
        """Return the run's sinks, each behind its checks."""
        ...

    def explaining(self) -> AbstractContextManager[None]:
        """Where anything fails after a plugin broke its contract, raise what the plugin did (E530)."""
        ...

    def settle(self) -> None:
        """End the run if anything was wrong so far. Raises EsperError E530."""
        ...

    def summary(self, run_seconds: float) -> dict[str, Any]:
        """Return how often plugins were looked at and what that cost, as plain data."""
        ...


def plugin_watch(level: str = "quick") -> Watch:
    """Return the watch that checks plugins' contracts.

    Args:
        level: quick looks closely at a sample of what is called for every batch, full at every call.

    Raises:
        EsperError: E190 if its distribution is not installed.
    """
    module = "esper_testing.watching"
    watching = optional_part(module, "plugins cannot be checked during a run", otherwise="run without --check-plugins")
    watch: Watch = watching.PluginWatch(level)
    return watch
