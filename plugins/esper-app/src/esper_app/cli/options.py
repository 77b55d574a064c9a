"""The options that select plugins, the same for every command that loads them."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from esper_app.cli.root import request_trace
from esper_app.configuration.plugin_selection import PluginOptions
from esper_core.plugins.selection import WORDS

if TYPE_CHECKING:
    from pathlib import Path


class FilePath(click.Path):
    """A path. What is needed to work with one is imported when one is given: it costs a tenth of listing plugins."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Path":
        """Return the path that a user wrote."""
        from pathlib import Path

        return Path(os.fsdecode(super().convert(value, param, ctx)))


def plugin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the plugin options to a command; it receives them as the keyword argument `plugin_options`."""

    @click.option(
        "--plugins",
        "selected_plugins",
        multiple=True,
        metavar="NAMES",
        shell_complete=complete_plugin_names,
        help="Plugins that may be used: auto, all, none, or names joined by commas (entry point, distribution, or "
        "distribution:entry-point). Repeatable; the order is the call order.  [default: auto]",
    )
    @click.option(
        "--no-plugin",
        "blocked_plugins",
        multiple=True,
        metavar="NAMES",
        shell_complete=complete_plugin_names,
        help="Plugins that are not even imported. Repeatable.",
    )
    @click.option(
        "--plugin-path",
        "plugin_files",
        multiple=True,
        metavar="FILE",
        type=FilePath(),
        help="A Python file that is a plugin. Repeatable.",
    )
    @click.option("--strict-plugins", is_flag=True, help="Fail if any selected plugin cannot be loaded.")
    @click.option(
        "--trace-plugins",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_trace,
        help="Show tracebacks of errors; ESPER_TRACE=1 does the same.",
    )
    @wraps(command)
    def with_plugin_options(
        *args: Any,
        selected_plugins: tuple[str, ...],
        blocked_plugins: tuple[str, ...],
        plugin_files: "tuple[Path, ...]",
        strict_plugins: bool,
        **kwargs: Any,
    ) -> Any:
        options = PluginOptions(
            plugins=selected_plugins,
            no_plugin=blocked_plugins,
            plugin_path=plugin_files,
            strict=strict_plugins,
        )
        return command(*args, plugin_options=options, **kwargs)

    return with_plugin_options


def locked_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--locked`` to a command with plugin options, which come before it."""

    @click.option(
        "--locked",
        metavar="LOCK",
        type=FilePath(),
        help="Use exactly the plugins of a lock, or of a run (its manifest or directory); exit code 3 where others are "
        "installed. Excludes --plugins and --no-plugin; its one-file plugins are given with --plugin-path.",
    )
    @wraps(command)
    def with_lock(*args: Any, locked: "Path | None", plugin_options: PluginOptions, **kwargs: Any) -> Any:
        return command(*args, plugin_options=evolve(plugin_options, locked=locked), **kwargs)

    return with_lock


def complete_plugin_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete the last name of a comma list from the installed entry points; imports no plugin."""
    from esper_core.plugins.discovery import installed_plugins

    before, comma, last = incomplete.rpartition(",")
    names = sorted(WORDS) + [candidate.origin.plugin for candidate in installed_plugins()]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def _trace(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        request_trace(ctx)
