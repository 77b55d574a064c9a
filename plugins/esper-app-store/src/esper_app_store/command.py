"""``esper store``: look at a store of artifacts, verify it, and remove what is not needed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, plugin_options

if TYPE_CHECKING:
    from esper_core.api import EsperError
    from esper_runs.tables import Table
    from esper_urza.api import SignedStore, StoreEntry

_URL = click.argument("url", envvar="ESPER_STORE", default="local:")


@click.group(short_help="List, verify and clean a store of artifacts.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the keys and the default store.  [default: ESPER_STATE, or .esper]",
)
def store(state: Path | None) -> None:
    """List what a store of artifacts has, verify it, and remove what is not needed.

    URL is a store's address, such as local:.esper/store; default is ESPER_STORE, or the store in the state directory.
    """
    if state is not None:
        # What opens a store reads it there.
        os.environ["ESPER_STATE"] = str(state)


def _opened(url: str, options: PluginOptions) -> "SignedStore":
    # Imported here: `--help` needs none of it.
    from esper_app.api import load_selected
    from esper_urza.api import open_store

    return open_store(url, load_selected(options).registry)


@store.command(short_help="Show what there is.")
@_URL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
def ls(url: str, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show the artifacts of a store, what was used last at the end. Each is verified; why one is refused is shown."""
    from attrs import asdict

    from esper_runs.printing import echo, echo_json
    from esper_runs.terminal import Terminal

    opened = _opened(url, plugin_options)
    entries = opened.store.entries()
    described = [_description(opened, it) for it in entries]
    opened.store.close()
    if as_json:
        echo_json([{**asdict(it), **said} for it, said in zip(entries, described, strict=True)])
        return
    if entries:
        terminal = Terminal(sys.stdout)
        terminal.print(terminal.table(_table(entries, described)))
    echo(f"{len(entries)} {'artifact' if len(entries) == 1 else 'artifacts'}, {sum(it.size for it in entries):,} bytes")


def _table(entries: "Sequence[StoreEntry]", described: "Sequence[dict[str, str]]") -> "Table":
    from esper_runs.tables import Cell, Column, Table

    columns = (
        Column("ARTIFACT"),
        Column("BLUEPRINT"),
        Column("SHAPE"),
        Column("COMPILER"),
        Column("BYTES", right=True),
        Column("USED (UTC)", spare=True),
        Column("STATE", prose=True),
    )
    rows = tuple(
        (
            it.digest[:12],
            said["blueprint"],
            said["shape"],
            said["compiler"],
            f"{it.size:,}",
            _day(it),
            Cell(said["state"], "good" if said["state"] == "ok" else "bad"),
        )
        for it, said in zip(entries, described, strict=True)
    )
    return Table(columns=columns, rows=rows)


def _description(opened: "SignedStore", entry: "StoreEntry") -> dict[str, str]:
    from esper_core.api import EsperError

    unknown = {"blueprint": "", "shape": "", "compiler": ""}
    try:
        found = opened.read(entry.digest)
    except EsperError as error:
        if error.code == "E621":
            raise
        return {**unknown, "state": _reason(error)}
    if found is None:
        return {**unknown, "state": "removed by another process"}
    inputs = found.manifest.inputs
    shape = f"{inputs.layout} {'x'.join(map(str, inputs.shape))} {inputs.dtype}"
    return {"blueprint": inputs.blueprint, "shape": shape, "compiler": inputs.compiler, "state": "ok"}


def _reason(error: "EsperError") -> str:
    return f"{error.code}: {error.why}"


def _day(entry: "StoreEntry") -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(entry.used_at, UTC):%Y-%m-%d %H:%M}"


@store.command(short_help="Verify every artifact.")
@_URL
@click.option("--remove", is_flag=True, help="Remove what is damaged or not signed by us.")
@plugin_options
@click.pass_context
def verify(context: click.Context, url: str, remove: bool, plugin_options: PluginOptions) -> None:
    """Read and verify every artifact. Exit code 1 if one is refused.

    What was made for another machine or torch is sound, and is never removed here.
    """
    from esper_runs.printing import echo

    opened = _opened(url, plugin_options)
    found = opened.verify()
    refused = [(digest, error) for digest, error in found if error is not None]
    for digest, error in refused:
        gone = remove and error.code != "E624" and opened.store.remove(digest)
        echo(f"{digest[:12]}  {_reason(error)}{'  (removed)' if gone else ''}")
    opened.store.close()
    echo(f"verified: {len(found) - len(refused)}, refused: {len(refused)}")
    context.exit(1 if refused else 0)


@store.command(short_help="Remove what is too old, too much, or left behind.")
@_URL
@plugin_options
def gc(url: str, plugin_options: PluginOptions) -> None:
    """Remove artifacts that were not used for long, or exceed the store's size, and files of dead processes.

    How long and how large the options in the address say: local:PATH?max_bytes=1000000000&ttl_days=30.
    """
    from esper_runs.printing import echo

    opened = _opened(url, plugin_options)
    removed = opened.store.collect()
    left = opened.store.entries()
    opened.store.close()
    echo(f"removed: {len(removed)}, left: {len(left)} ({sum(it.size for it in left):,} bytes)")
