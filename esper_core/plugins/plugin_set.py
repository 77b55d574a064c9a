"""The plugins of one run, and how their hooks are reached."""

from collections.abc import Callable, Iterator, Set
from typing import TYPE_CHECKING

from attrs import field, frozen
from pluggy import HookImpl, PluginManager

from esper_core.leyline.errors import EsperError
from esper_core.leyline.sites import SiteRequest
from esper_core.plugins.collect import guarded_call
from esper_core.plugins.discovery import answers_to
from esper_core.plugins.records import Origin, PluginRecord, Status
from esper_core.plugins.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from esper_core.plugins.observers import Observers


@frozen(kw_only=True)
class PluginSet:
    """The plugins of one run.

    Attributes:
        records: every plugin that was found, in call order, those that were left out last.
        registry: the components of the active ones.
        named: names of the plugins that were asked for by name.
        observers_of_all: every active plugin may observe.
        manager: knows the hook implementations of the active ones.
    """

    records: tuple[PluginRecord, ...]
    registry: Registry
    named: frozenset[str]
    observers_of_all: bool
    manager: PluginManager = field(eq=False, repr=False)

    def implementations(self, hook: str) -> Iterator[tuple[HookImpl, Origin]]:
        """Yield the active plugins' implementations of a hook with their origins, in call order."""
        origins = {record.origin.plugin: record.origin for record in self.records if record.status is Status.ACTIVE}
        for implementation in in_call_order(self.manager, hook):
            yield implementation, origins[implementation.plugin_name]

    def observers(self, used: Set[str], report: Callable[[EsperError], None]) -> "Observers":
        """Return the observers of a run. Installing a plugin changes nothing in a run that does not use it.

        Args:
            used: names of the plugins that provide a used component; those asked for by name are added.
            report: is told when an observer raises.
        """
        # Imported here: only runs are observed, and this class is used by every command that looks at plugins.
        from esper_core.plugins.observers import OBSERVER_HOOKS, Listener, Observers

        return Observers(
            {
                hook: tuple(
                    Listener(implementation, origin)
                    for implementation, origin in self.implementations(hook)
                    if self.may_observe(origin.plugin, used)
                )
                for hook in OBSERVER_HOOKS
            },
            report,
        )

    def may_observe(self, plugin: str, used: Set[str]) -> bool:
        """Say whether a plugin's observers run, given the names of the plugins that provide a used component."""
        return self.observers_of_all or plugin in used or plugin in self.named

    def adapt_host(self, model: "nn.Module") -> tuple[tuple[SiteRequest, ...], Origin] | None:
        """Ask who understands a model; the first answer counts.

        Returns:
            The sites and the plugin that knows them, None if no plugin understands the model.

        Raises:
            EsperError: E141 if a plugin fails.
        """
        for implementation, origin in self.implementations("esper_adapt_host"):
            arguments = {"model": model} if implementation.argnames else {}
            sites = guarded_call("esper_adapt_host", implementation.function, origin, **arguments)
            if sites is not None:
                return tuple(sites), origin
        return None

    def find(self, name: str) -> tuple[PluginRecord, ...]:
        """Return the records that answer to a name: entry point, distribution, or ``distribution:plugin``."""
        return tuple(record for record in self.records if answers_to(record.origin, name))


def in_call_order(manager: PluginManager, hook: str) -> Iterator[HookImpl]:
    """Yield a hook's implementations as pluggy would call them: the last one registered first."""
    yield from reversed(getattr(manager.hook, hook).get_hookimpls())
