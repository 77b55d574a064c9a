"""``esper bus``: look at a bus, hand dead letters out again, and try what it promises."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, plugin_options
from esper_runs.tables import Column, Table

if TYPE_CHECKING:
    from esper_oona.api import Bus, Outgoing

_COUNT = click.IntRange(min=1)

_BACKLOGS = (Column("STREAM"), Column("GROUP"), Column("WAITING", right=True), Column("PENDING", right=True))
_MESSAGES = (
    Column("POSITION", right=True),
    Column("KEY", spare=True),
    Column("TYPE"),
    Column("ISSUED"),
    Column("PRODUCER", spare=True),
    Column("BYTES", right=True, spare=True),
    Column("ID"),
)
_LETTERS = (
    Column("LETTER"),
    Column("AT (UTC)"),
    Column("STREAM"),
    Column("GROUP", spare=True),
    Column("TYPE", spare=True),
    Column("ATTEMPTS", right=True, spare=True),
    Column("REASON", prose=True),
)


@click.group(short_help="Look at a bus, requeue dead letters, try what it promises.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the keys and the default bus.  [default: ESPER_STATE, or .esper]",
)
def bus(state: Path | None) -> None:
    """Look at a bus, hand dead letters out again, and try what it promises.

    URL is a bus's address, such as sqlite:.esper/bus.sqlite or redis://localhost:6379/0.
    """
    if state is not None:
        # What opens a bus reads it there, in processes that this one starts too.
        os.environ["ESPER_STATE"] = str(state)


def _opened(url: str, options: PluginOptions) -> "Bus":
    # Imported here: `--help` needs none of it.
    from esper_app.api import load_selected
    from esper_oona.api import open_shared_bus

    return open_shared_bus(url, load_selected(options).registry, make=False)


def _print(columns: tuple[Column, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from esper_runs.terminal import Terminal

    terminal = Terminal(sys.stdout)
    terminal.print(terminal.table(Table(columns=columns, rows=tuple(rows))))


@bus.command(short_help="Show what is not finished, by stream and group.")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
def ls(url: str, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show what is not finished, by stream and group, and what messages survive."""
    from attrs import asdict

    from esper_runs.printing import echo, echo_json

    opened = _opened(url, plugin_options)
    backlogs, survives = opened.backlogs(), opened.survives.name.lower()
    opened.close()
    if as_json:
        echo_json({"survives": survives, "backlogs": [*map(asdict, backlogs)]})
        return
    rows = [(it.stream, it.group or "(nobody)", f"{it.waiting}", f"{it.pending}") for it in backlogs]
    if rows:
        _print(_BACKLOGS, rows)
    else:
        echo("nothing has been published yet")
    echo(f"messages survive: {survives}")


@bus.command(short_help="Show the newest messages of a stream.")
@click.argument("url")
@click.argument("stream")
@click.option("-n", "count", type=_COUNT, default=10, show_default=True, help="How many.")
@click.option("--decoded", "as_records", is_flag=True, help="Show what is in them, by name of field.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one message a line, with what is in it.")
@plugin_options
def tail(url: str, stream: str, count: int, as_records: bool, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show the newest messages of STREAM. Their signatures are not checked."""
    opened = _opened(url, plugin_options)
    found = opened.tail(stream, count)
    streams = [] if found else sorted({it.stream for it in opened.backlogs()})
    opened.close()
    if not (found or as_json):
        _say_that_there_are_none(stream, streams)
    elif as_records or as_json:
        _print_decoded(found, as_json=as_json)
    else:
        rows = [(str(at), it.key, *_content(it.body)) for at, it in found]
        _print(_MESSAGES, rows)


def _say_that_there_are_none(stream: str, streams: Sequence[str]) -> None:
    """An empty stream and one that nobody has written to are the same to a bus."""
    from esper_core.api import did_you_mean
    from esper_runs.printing import echo

    others = [it for it in streams if it != stream]
    echo(f'there are no messages in the stream "{stream}"{f"; {did_you_mean(stream, others)}" if others else ""}')


def _print_decoded(found: "Sequence[tuple[int, Outgoing]]", *, as_json: bool) -> None:
    from esper_app_bus.decoded import decoded
    from esper_core.api import to_json
    from esper_messaging.reading import lines_of
    from esper_runs.printing import echo

    for message in decoded(found):
        echo(to_json(message) if as_json else "\n".join([*lines_of(message), ""]))


def _content(body: bytes) -> tuple[str, ...]:
    from esper_core.api import EsperError
    from esper_leyline_proto.conversion import from_bytes
    from esper_oona.api import Envelope

    try:
        it = from_bytes(Envelope, body)
    except EsperError:
        return "(not an envelope)", "", "", str(len(body)), ""
    issued = it.issued_at.isoformat(sep=" ", timespec="seconds")
    return it.type.name.lower().replace("_", "-"), issued, it.producer, str(len(it.payload)), it.id


@bus.command(short_help="Show dead letters, with their reasons.")
@click.argument("url")
@click.option("-n", "count", type=_COUNT, default=20, show_default=True, help="How many.")
@plugin_options
def dead(url: str, count: int, plugin_options: PluginOptions) -> None:
    """Show the newest dead letters: messages that were given up, or refused, and why."""
    from datetime import UTC, datetime

    from esper_runs.printing import echo

    opened = _opened(url, plugin_options)
    letters = opened.dead(count)
    opened.close()
    rows = [
        (
            it.id,
            f"{datetime.fromtimestamp(it.at, UTC):%Y-%m-%d %H:%M:%S}",
            it.stream,
            it.group,
            _content(it.body)[0],
            str(it.attempts),
            it.reason,
        )
        for it in letters
    ]
    if rows:
        _print(_LETTERS, rows)
    else:
        echo("there are no dead letters")


@bus.command(short_help="Hand dead letters out again.")
@click.argument("url")
@click.argument("letters", nargs=-1)
@click.option("--all", "all_of_them", is_flag=True, help="All of them.")
@plugin_options
def requeue(url: str, letters: tuple[str, ...], all_of_them: bool, plugin_options: PluginOptions) -> None:
    """Hand LETTERS out again, to the group that gave them up. What has expired in the meantime is refused again."""
    from esper_runs.printing import echo

    if bool(letters) == all_of_them:
        raise click.UsageError("name letters, as `esper bus dead` shows them, or give --all")
    opened = _opened(url, plugin_options)
    ids = [it.id for it in opened.dead(1_000_000)] if all_of_them else [*letters]
    found = opened.requeue(ids)
    opened.close()
    echo(f"requeued: {found}")
    if found < len(ids):
        raise click.ClickException(f"{len(ids) - found} of these dead letters are not there")


@bus.command(short_help="Remove a group of consumers.")
@click.argument("url")
@click.argument("stream")
@click.argument("group")
@plugin_options
def leave(url: str, stream: str, group: str, plugin_options: PluginOptions) -> None:
    """Remove GROUP from STREAM, with all that it has not handled; it no longer keeps messages from being trimmed."""
    from esper_runs.printing import echo

    opened = _opened(url, plugin_options)
    known = [it.group for it in opened.backlogs() if it.stream == stream and it.group]
    if group not in known:
        opened.close()
        from esper_core.api import did_you_mean

        raise click.BadParameter(f'"{stream}" has no group "{group}"; {did_you_mean(group, known)}')
    opened.leave(stream, group)
    opened.close()
    echo(f'the group "{group}" has left the stream "{stream}"')


@bus.command(short_help="Drop messages that every group has finished.")
@click.argument("url")
@click.argument("stream")
@click.option("--keep", type=click.IntRange(min=0), required=True, help="How many of the newest messages to keep.")
@plugin_options
def trim(url: str, stream: str, keep: int, plugin_options: PluginOptions) -> None:
    """Drop the oldest messages of STREAM, but none that a group has not finished, and none that no group reads."""
    from esper_runs.printing import echo

    opened = _opened(url, plugin_options)
    dropped, backlogs = opened.trim(stream, keep=keep), opened.backlogs()
    opened.close()
    groups = [it.group for it in backlogs if it.stream == stream]
    if not groups:
        _say_that_there_are_none(stream, sorted({it.stream for it in backlogs}))
    elif groups == [""]:
        echo(f'dropped: 0; no group reads the stream "{stream}", so all of it is kept for the first one')
    else:
        echo(f"dropped: {dropped}")


@bus.command(short_help="Sign with a new key from now on.")
@click.option(
    "--kept", type=click.IntRange(min=0), default=1, show_default=True, help="Earlier keys that still verify."
)
def rotate(kept: int) -> None:
    """Make a new key in the state directory, which signs from now on; processes that run keep the keys they have."""
    from esper_oona.api import rotate as rotate_keys
    from esper_oona.api import state_directory
    from esper_runs.printing import echo

    echo(f"signing key: {rotate_keys(state_directory(), kept=kept)}")


@bus.command(short_help="Kill producers, consumers and the server, and account for every message.")
@click.argument("url")
@click.option("--kills", type=click.IntRange(min=0), default=100, show_default=True, help="How many, with SIGKILL.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="For how long, after nine seconds without kills.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is killed, and when.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@plugin_options
@click.pass_context
def torture(
    context: click.Context,
    url: str,
    kills: int,
    seconds: float,
    seed: int,
    as_json: bool,
    plugin_options: PluginOptions,
) -> None:
    """Kill producers, consumers and the server at random, and hold what happened against what a bus promises.

    A bare scheme, such as sqlite: or redis:, is a new bus in a temporary folder, with a server of its own that is
    killed as well. The server of a full address is not; use one that nobody else uses. Exit code 1 if a promise was
    broken.
    """
    from esper_app.api import load_selected
    from esper_app_bus.torture.report import torture_report
    from esper_app_bus.torture.run import Plan
    from esper_runs.printing import echo, echo_json

    report = torture_report(url, load_selected(plugin_options), Plan(kills=kills, seconds=seconds, seed=seed))
    if as_json:
        echo_json(report.as_json())
    else:
        for line in report.lines():
            echo(line)
    context.exit(1 if report.torture.findings.violations else 0)
