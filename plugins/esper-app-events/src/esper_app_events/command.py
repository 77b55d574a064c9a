"""``esper events``: what happened in a run, found by words and by field."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, plugin_options

if TYPE_CHECKING:
    from esper_runs.event_search import Condition, EventQuery


@click.group(short_help="Search the events of a run; print their schema.")
def events() -> None:
    """Search the events of a run, and print the JSON Schema of events."""


def _epochs(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int | None, int | None]:
    # Imported here: `--help` needs none of it.
    from esper_runs.epoch_range import epoch_range

    try:
        return (None, None) if value is None else epoch_range(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _conditions(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple["Condition", ...]:
    from esper_runs.event_search import Condition

    try:
        return tuple(map(Condition.parse, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@events.command(short_help="Find events by words and by field.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--kind", metavar="KIND", help="Events of this kind, such as seed_transition.")
@click.option("--host", metavar="HOST", help="Events of this host, such as grown or twin.")
@click.option("--slot", metavar="SLOT", help="Events about this slot.")
@click.option("--seed", "seed_id", metavar="SEED", help="Events about this seed.")
@click.option(
    "--epochs",
    "--epoch",
    "epochs",
    metavar="A-B",
    callback=_epochs,
    help="These epochs only, counted from 1; A- and -B too.",
)
@click.option(
    "--where",
    metavar="PATH=VALUE",
    multiple=True,
    callback=_conditions,
    help="A value in the payload, such as validation.accuracy>=0.9 or seeds.stage=TRAINING. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of events; epochs are counted from 0.")
def search(
    run: Path,
    text: str | None,
    kind: str | None,
    host: str | None,
    slot: str | None,
    seed_id: str | None,
    epochs: tuple[int | None, int | None],
    where: tuple["Condition", ...],
    as_json: bool,
) -> None:
    """Find events: those in which every word of TEXT occurs, and to which every option applies.

    RUN is a run's directory, or its name under runs/; `last` is the newest one. A word that ends in * is the beginning
    of one. The SQLite file of the sink `sqlite` is searched if it is there and complete, otherwise the event log.
    """
    # Imported here: `--help` needs none of it.
    from esper_runs.event_search import EventQuery

    query = EventQuery(
        text=text,
        kind=kind,
        host=host,
        slot=slot,
        seed_id=seed_id,
        first=epochs[0],
        last=epochs[1],
        conditions=where,
    )
    _search(run, query, as_json)


def _search(run: Path, query: "EventQuery", as_json: bool) -> None:
    from esper_core.api import EventKind, did_you_mean
    from esper_runs.event_search import opened_events
    from esper_runs.printing import echo, echo_json
    from esper_runs.reading import reading
    from esper_runs.run_list import locate_run

    directory = locate_run(run)
    with opened_events(directory) as connection:
        found = [*query.select(connection)]
    if as_json:
        echo_json(found)
    elif found:
        with reading(f'run "{directory.name}"', directory.path):
            rows = [*map(_row, found)]
        _print(rows)
    else:
        echo("no event is found")
        if query.kind is not None and query.kind not in set(EventKind):
            echo(f'no kind of event is called "{query.kind}"; {did_you_mean(query.kind, map(str, EventKind))}')


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    from esper_runs.event_text import event_summary
    from esper_runs.formatting import MISSING

    epoch = event["epoch"]
    return (
        str(event["sequence"]),
        MISSING if epoch is None else str(epoch + 1),
        event["host"] or MISSING,
        event["kind"],
        event["seed_id"] or event["slot"] or MISSING,
        event_summary(event["kind"], event["data"]),
    )


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    from esper_runs.tables import Column, Table
    from esper_runs.terminal import Terminal

    titles = ("HOST", "KIND", "ABOUT", "WHAT")
    columns = (Column("EVENT", right=True), Column("EPOCH", right=True), *map(Column, titles))
    terminal = Terminal(sys.stdout)
    terminal.print(terminal.table(Table(columns=columns, rows=tuple(rows))))


@events.command(short_help="Print the JSON Schema of events.")
@click.option("--kind", metavar="KIND", help="Only of the payload of this kind.")
@click.option("--closed", is_flag=True, help="Refuse fields that are not described, such as those of a newer Esper.")
@plugin_options
def schema(kind: str | None, closed: bool, plugin_options: PluginOptions) -> None:
    """Print the JSON Schema of an event, with the payload of every kind; it is derived from the records themselves.

    Kinds that installed plugins have registered are among them.
    """
    from esper_app.api import event_payloads
    from esper_core.api import EventKind, did_you_mean
    from esper_runs.event_schema import event_schema, payload_schema
    from esper_runs.printing import echo_json

    further = event_payloads(plugin_options)
    if kind is not None and kind not in (known := [*map(str, EventKind), *further]):
        raise click.BadParameter(f'"{kind}" is no kind of event; {did_you_mean(kind, known)}')
    if kind is None:
        echo_json(event_schema(closed=closed, further=further))
    else:
        echo_json(payload_schema(kind, closed=closed, further=further))
