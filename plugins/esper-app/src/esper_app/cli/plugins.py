"""``esper plugins``: what is installed, what became of it, and what a run would use."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import click

from esper_app.cli import terminal_columns
from esper_app.cli.loading import trace_problems
from esper_app.cli.options import complete_plugin_names, plugin_options
from esper_app.configuration.plugin_selection import PluginOptions, select
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import ROLES, PluginRecord, Status
from esper_core.plugins.selection import unknown_plugin
from esper_runs.printing import echo
from esper_runs.tables import table


def _offers(kinds: Iterable[PluginKind]) -> list[str]:
    return [kind.name for kind in kinds] + [*ROLES]


@click.group()
def plugins() -> None:
    """Show the plugins and what they offer."""


@plugins.command("list")
@click.option(
    "--kind",
    metavar="KIND",
    shell_complete=lambda _, __, begun: [it for it in _offers(KINDS) if it.startswith(begun)],
    help=f"Only plugins that offer this: {', '.join(_offers(KINDS))}, or a kind that a plugin adds.",
)
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only plugins in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of records.")
@plugin_options
def list_plugins(kind: str | None, status: str | None, as_json: bool, plugin_options: PluginOptions) -> None:
    """List all plugins, sound or not.

    A plugin that cannot be had is a line of the list, not an error, unless --strict-plugins says so.
    """
    found = load_plugins(select(plugin_options, os.environ), tolerant=not plugin_options.strict)
    _check_kind(kind, found)
    shown = [r for r in found.records if (not kind or kind in r.kinds) and (not status or r.status == status)]
    trace_problems(tuple(shown))
    if as_json:
        echo(_json([as_data(record) for record in shown]))
        return
    if not shown:
        echo("no plugins")
        return
    echo(_as_table(shown, terminal_columns()))
    for record in shown:
        if record.problem:
            echo(f"\n{record.problem}")


def _as_table(shown: Sequence[PluginRecord], width: int | None) -> str:
    """Return the list; on a narrow terminal without versions, and without distributions where that is not enough."""
    columns: dict[str, list[str]] = {
        "PLUGIN": [r.origin.plugin for r in shown],
        "DISTRIBUTION": [r.origin.distribution for r in shown],
        "VERSION": [r.origin.version for r in shown],
        "STATUS": [str(r.status) for r in shown],
        "OFFERS": [", ".join(r.kinds) for r in shown],
    }
    for left_out in ("VERSION", "DISTRIBUTION", None):
        text = table([*columns], [*zip(*columns.values(), strict=True)])
        if left_out is None or width is None or max(map(len, text.splitlines())) <= width:
            break
        del columns[left_out]
    return text


def _check_kind(kind: str | None, found: PluginSet) -> None:
    known = _offers(found.registry.kinds)
    if kind is not None and kind not in known:
        raise EsperError("E204", f'no plugin can offer "{kind}"', where="--kind", fix=did_you_mean(kind, known))


@plugins.command()
@click.argument("name", shell_complete=complete_plugin_names)
@click.option("--json", "as_json", is_flag=True, help="Print a record.")
@plugin_options
def info(name: str, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show where a plugin comes from and everything that it offers.

    NAME is an entry point, a distribution, or distribution:entry-point.
    """
    found = load_plugins(select(plugin_options, os.environ), tolerant=not plugin_options.strict)
    records = found.find(name)
    if not records:
        raise unknown_plugin(name, [record.origin for record in found.records])
    trace_problems(records)
    if as_json:
        data = [as_data(record) for record in records]
        echo(_json(data[0] if len(data) == 1 else data))
        return
    # Imported here: the options of components need their configuration classes.
    from esper_app.cli.plugin_page import page

    echo("\n\n".join(page(record, found) for record in records))


def as_data(record: PluginRecord) -> dict[str, Any]:
    """Return a record as plain data."""
    origin = record.origin
    return {
        "name": origin.plugin,
        "distribution": origin.distribution or None,
        "version": origin.version or None,
        "status": record.status.value,
        "kinds": list(record.kinds),
        "problem": record.problem,
        "codes": [problem.code for problem in record.problems],
        "components": [
            {"kind": r.spec.kind, "name": r.spec.name, "summary": r.spec.summary, "id": r.id} for r in record.components
        ],
        "adds_kind": None if record.kind is None else record.kind.name,
        "hooks": list(record.hooks),
        "api": record.api,
        "entry_point": origin.entry_point or None,
        "module": origin.module,
        "file": origin.file,
        "editable": origin.editable,
        "load_ms": record.load_ms,
    }


def _json(data: Any) -> str:
    import json

    return json.dumps(data, indent=2)
