"""Subcommands that plugins add to `esper` through the hook `esper_commands`."""

import os
from collections.abc import Iterator

import click

from esper_app.configuration.plugin_selection import PluginOptions, select
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Origin, as_warning

HOOK = "esper_commands"


def find_plugin_command(name: str) -> click.Command | None:
    """Return the subcommand that a plugin adds under this name, None if there is none.

    Only the environment (``ESPER_PLUGINS``, ``ESPER_NO_PLUGINS``) selects plugins here: options of a command cannot be
    read before the command is known.

    Raises:
        EsperError: E111 if two plugins add it.
    """
    plugins = load_plugins(select(PluginOptions(), os.environ), tolerant=True)
    found = []
    for origin, group in plugin_groups(plugins):
        if isinstance(group, EsperError):
            click.echo(as_warning(group), err=True)
        elif command := group.commands.get(name):
            found.append((origin, command))
    if len(found) > 1:
        what = f'command "{name}" is added by {" and by ".join(origin.title for origin, _ in found)}'
        raise EsperError("E111", what, fix=f"switch one off: ESPER_NO_PLUGINS={found[-1][0].plugin}")
    return found[0][1] if found else None


def plugin_groups(plugins: PluginSet, plugin: str | None = None) -> Iterator[tuple[Origin, click.Group | EsperError]]:
    """Let every plugin (or one) add its commands to a group of its own, so that each is known to be whose."""
    for implementation in plugins.implementations(HOOK):
        origin = implementation.origin
        if plugin not in (None, origin.plugin):
            continue
        group = click.Group("esper")
        try:
            implementation(cli=group)
        except EsperError as error:
            yield origin, error
        else:
            yield origin, group
