"""The plugins of one run, and how their hooks are reached."""

from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import TYPE_CHECKING

from attrs import field, frozen
from pluggy import PluginManager

from esper_core.hooks import ObserverSpecs, hooks_of
from esper_core.leyline.errors import EsperError
from esper_core.plugins.calling import Implementation, implementations
from esper_core.plugins.discovery import answers_to
from esper_core.plugins.records import Origin, PluginRecord, Status
from esper_core.plugins.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from esper_core.leyline.sites import SiteRequest
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

    def implementations(self, hook: str) -> Iterator[Implementation]:
        """Yield the active plugins' implementations of a hook, in call order."""
        origins = {record.origin.plugin: record.origin for record in self.records if record.status is Status.ACTIVE}
        return implementations(self.manager, hook, origins)

    def observers(self, used: Set[str], report: Callable[[EsperError], None]) -> "Observers":
        """Return the observers of a run. Installing a plugin changes nothing in a run that does not use it.

        Args:
            used: names of the plugins that provide a used component; those asked for by name are added.
            report: is told when an observer raises.
        """
        # Imported here: only runs are observed, and this class is used by every command that looks at plugins.
        from esper_core.plugins.observers import Observers

        return Observers(
            {
                hook: tuple(it for it in self.implementations(hook) if self.may_observe(it.origin.plugin, used))
                for hook in hooks_of(ObserverSpecs)
            },
            report,
        )

    def may_observe(self, plugin: str, used: Set[str]) -> bool:
        """Say whether a plugin's observers run, given the names of the plugins that provide a used component."""
        return self.observers_of_all or plugin in used or plugin in self.named

    def adapt_host(self, model: "nn.Module") -> "tuple[tuple[SiteRequest, ...], Origin] | None":
        """Ask who understands a model; the first answer counts.

        Returns:
            The sites and the plugin that knows them, None if no plugin understands the model.

        Raises:
            EsperError: E141 if a plugin fails.
        """
        for implementation in self.implementations("esper_adapt_host"):
            sites = implementation(model=model)
            if sites is not None:
                return implementation.guarded(partial(tuple, sites)), implementation.origin
        return None

    def find(self, name: str) -> tuple[PluginRecord, ...]:
        """Return the records that answer to a name: entry point, distribution, or ``distribution:plugin``."""
        return tuple(record for record in self.records if answers_to(record.origin, name))
