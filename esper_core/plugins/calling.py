"""The one place where plugins' hook implementations are called.

pluggy reads the marks, checks and registers implementations, and keeps their order. It does not call them: its call
loop ends at the first implementation that raises and does not say whose it was, while here one that fails must hide no
other, and is named.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from pluggy import PluginManager

from esper_core.leyline.deadline import OverdueError
from esper_core.leyline.errors import EsperError, summary
from esper_core.plugins.quarantine import MORE_TIME, place, quarantined
from esper_core.plugins.records import Origin

Result = TypeVar("Result")


class Implementation(NamedTuple):
    """One plugin's implementation of one hook.

    Attributes:
        hook: the hook's name.
        function: what the plugin marked.
        arguments: names of the arguments that it asks for.
        origin: the plugin.
    """

    hook: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    origin: Origin

    def __call__(self, **given: Any) -> Any:
        """Call it with those of the given arguments that it asks for.

        Raises:
            EsperError: E141 for whatever it raises but KeyboardInterrupt, and if it takes too long.
        """
        return self.guarded(partial(self.function, **{name: given[name] for name in self.arguments}))

    def guarded(self, function: Callable[[], Result]) -> Result:
        """Call a function that runs the plugin's code: to go through what it returned, if that is lazy.

        Raises:
            EsperError: E141 as above.
        """
        try:
            return quarantined(function)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> EsperError:
        advice = MORE_TIME if isinstance(error, OverdueError) else "report it to its author"
        return EsperError(
            "E141",
            f'"{self.hook}" of {self.origin.title} failed',
            where=place(error, self.origin.module),
            why=summary(error),
            fix=f"{advice}, or run without it: --no-plugin {self.origin.plugin}",
        )


def implementations(manager: PluginManager, hook: str, origins: dict[str, Origin]) -> Iterator[Implementation]:
    """Yield a hook's implementations as pluggy would call them: the last one registered first.

    Args:
        manager: where they are registered.
        hook: the hook's name.
        origins: the plugins by the names under which they are registered.
    """
    for registered in reversed(getattr(manager.hook, hook).get_hookimpls()):
        yield Implementation(hook, registered.function, registered.argnames, origins[registered.plugin_name])
