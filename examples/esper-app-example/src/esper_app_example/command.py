"""``esper settings``: what a run sets otherwise than the built-in defaults, and who says so."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click
from esper_app.api import ConfigOptions, PluginOptions, config_options, plugin_options, resolve_command


@click.command()
@click.argument("task", required=False)
@config_options
@plugin_options
def settings(task: str | None, config_options: ConfigOptions, plugin_options: PluginOptions) -> None:
    """Show what a run sets otherwise than the built-in defaults, and who says so.

    Takes the options of `esper run` that say what the run is; nothing is built.
    """
    configuration = resolve_command(task, config_options, plugin_options).configuration
    values = dict(_values(configuration.config.tree()))
    said = {path: source for path in values if (source := configuration.source(path)) is not None}
    rows = [("KEY", "VALUE", "SET BY"), *((path, json.dumps(values[path]), source) for path, source in said.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for key, value, source in rows:
        click.echo(f"{key:{widths[0]}}  {value:{widths[1]}}  {source}")
    click.echo(f"\n{len(values) - len(said)} further settings are the built-in defaults: esper config show")


def _values(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by dotted path."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
