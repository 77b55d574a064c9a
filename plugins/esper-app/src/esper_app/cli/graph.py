"""``esper plugins graph``: what a run would use, and why."""

import json
import sys
from typing import Any

import click

from esper_app.cli.config_options import ConfigOptions, complete_names, config_options
from esper_app.cli.options import locked_option, plugin_options
from esper_app.cli.resolving import Resolved, resolve_command
from esper_app.configuration.catalogue import catalogue_names
from esper_app.configuration.components import used_components
from esper_app.configuration.plugin_selection import PluginOptions
from esper_core.hooks import ObserverSpecs, hooks_of
from esper_core.leyline.specs import BlueprintSpec, TaskSpec
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import PluginRecord, Registered, Status
from esper_runs.printing import echo
from esper_runs.tables import Column, Table

_COMPONENTS = (Column("KIND"), Column("COMPONENT"), Column("PLUGIN", spare=True), Column("BECAUSE", prose=True))
_PLUGINS = (Column("PLUGIN"), Column("ROLES"), Column("BECAUSE", prose=True))


@click.command(short_help="Show what a run would use, and why.")
@click.argument("task", required=False, shell_complete=complete_names(TaskSpec.kind))
@click.option("--json", "as_json", is_flag=True, help="Print a record.")
@config_options
@plugin_options
@locked_option
def graph(task: str | None, as_json: bool, config_options: ConfigOptions, plugin_options: PluginOptions) -> None:
    """Show what a run would use, and why; takes the options of `esper run`. Nothing is built."""
    resolved = resolve_command(task, config_options, plugin_options)
    config, registry = resolved.configuration.config, resolved.plugins.registry
    used = used_components(config, registry, catalogue_names(config, registry))
    components = [_component(registered, resolved) for registered in used]
    plugins = [_plugin(record, resolved.plugins, used) for record in resolved.plugins.records]
    if as_json:
        echo(json.dumps({"task": resolved.task.name, "components": components, "plugins": plugins}, indent=2))
        return
    _print(
        Table(columns=_COMPONENTS, rows=tuple((c["kind"], c["name"], c["plugin"], c["because"]) for c in components)),
        Table(columns=_PLUGINS, rows=tuple((p["name"], ", ".join(p["roles"]), p["because"]) for p in plugins)),
    )


def _print(*tables: Table) -> None:
    # Imported here, because rich is slow to load.
    from esper_runs.terminal import Terminal

    terminal = Terminal(sys.stdout)
    for number, table in enumerate(tables):
        terminal.print(*[""] * bool(number), terminal.table(table))


def _component(registered: Registered, resolved: Resolved) -> dict[str, Any]:
    section = resolved.plugins.registry.kind(registered.spec.kind).section
    assert section is not None
    path = section.named_at
    because = f"{path}: {resolved.configuration.merged.source(path) or 'the built-in defaults'}"
    if registered.spec.kind == BlueprintSpec.kind and resolved.configuration.config.policy.blueprints is None:
        because = f"esper-standard brings it and it fits host {resolved.configuration.config.host.name}"
    return {
        "kind": registered.spec.kind,
        "name": registered.spec.name,
        "id": registered.id,
        "plugin": registered.origin.plugin,
        "because": because,
    }


def _plugin(record: PluginRecord, plugins: PluginSet, used: tuple[Registered, ...]) -> dict[str, Any]:
    roles, because = _roles(record, plugins, used)
    name, distribution = record.origin.plugin, record.origin.distribution or None
    return {"name": name, "distribution": distribution, "roles": roles, "because": because}


def _roles(record: PluginRecord, plugins: PluginSet, used: tuple[Registered, ...]) -> tuple[list[str], str]:
    if record.status is not Status.ACTIVE:
        return [record.status.value], record.problems[0].what if record.problems else "the selection says so"
    name = record.origin.plugin
    offered = [registered.spec.name for registered in used if registered.origin.plugin == name]
    listens = bool(set(hooks_of(ObserverSpecs)) & set(record.hooks))
    observes = listens and plugins.may_observe(name, {registered.origin.plugin for registered in used})
    roles = ["used"] * bool(offered) + ["observes"] * observes
    if offered:
        return roles, f"offers {', '.join(offered)}"
    if observes:
        return roles, "it is named" if name in plugins.named else "all plugins may observe"
    return ["unused"], "the run names nothing that it offers"
