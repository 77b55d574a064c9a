"""``esper policy``: the versions of policies, and which of them runs begin with."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, plugin_options

if TYPE_CHECKING:
    from esper_simic.api import PolicyStore, PolicyVersion


@click.group(short_help="Show policies, and decide which one runs begin with.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the keys and the policies.  [default: ESPER_STATE, or .esper]",
)
def policy(state: Path | None) -> None:
    """Show the versions of policies, and decide which one runs begin with: the champion.

    A run begins with it by `--policy champion`.
    """
    if state is not None:
        # What looks for the state directory reads it there.
        os.environ["ESPER_STATE"] = str(state)


_ADD = "add one: esper policy add runs/NAME/policy"


def _is_empty() -> bool:
    from esper_oona.api import state_path
    from esper_simic.api import POLICIES

    return not (state_path() / POLICIES).is_dir()


@contextmanager
def _store(*, make: bool = False) -> "Iterator[PolicyStore]":
    """Yield the store of the state directory. Raises EsperError E636 if there is none, and none is to be made."""
    # Imported here: help needs none of it.
    from esper_core.api import EsperError
    from esper_oona.api import keyring, state_directory, state_path
    from esper_simic.api import PolicyStore

    if not make and _is_empty():
        raise EsperError("E636", "there are no policies", where=str(state_path()), fix=_ADD)
    state = state_directory()
    store = PolicyStore(state, keyring(state))
    try:
        yield store
    finally:
        store.close()


@policy.command(short_help="Show all versions, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(as_json: bool) -> None:
    """Show all versions, oldest first: their parents, how they did, and which one is the champion."""
    from esper_runs.printing import echo, echo_json
    from esper_runs.tables import Column, Table
    from esper_runs.terminal import Terminal

    found = []
    if not _is_empty():
        with _store() as store:
            found = store.versions()
    if as_json:
        echo_json([_as_data(it) for it in found])
    elif found:
        added = "ADDED (UTC)"
        rows = [(it.version, it.parent or "", _time(it.added_at), _returns(it), it.state) for it in found]
        columns = [Column(it, spare=it == added) for it in ("VERSION", "PARENT", added, "RETURN (PARENT'S)", "STATE")]
        terminal = Terminal(sys.stdout)
        terminal.print(terminal.table(Table(columns=tuple(columns), rows=tuple(rows))))
    else:
        echo(f"there are no policies; {_ADD}")


@policy.command(short_help="Show a version, its parents and its validation.")
@click.argument("version", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(version: str | None, as_json: bool) -> None:
    """Show VERSION, or the champion, with its parents and how it was validated; its signature is checked."""
    from esper_core.api import plain
    from esper_runs.printing import echo, echo_json

    with _store() as store:
        named = version or store.require_champion()
        store.read(named)
        found, chain, history = store.get(named), store.chain(named), store.history()
        card = store.card_path(named)
    data = {**_as_data(found), "chain": chain, "card": str(card)}
    data["history"] = [plain(it) for it in history if it.version == named]
    if as_json:
        echo_json(data)
        return
    echo(f"{named}: {found.state}, added {_time(found.added_at)} UTC")
    echo(f"parents: {' <- '.join(chain)}")
    echo(f"files: {card.parent}, checksum {found.update.checksum[:12]}, signed with {found.update.key_id}")
    for line in _validation_lines(found):
        echo(line)
    for it in history:
        if it.version == named:
            echo(f"{it.event} {_time(it.at)} UTC{f': {it.because}' if it.because else ''}")


@policy.command(short_help="Add a saved policy, as a version without a parent.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--promote", "promoted", is_flag=True, help="Make it the champion, if there is none.")
@plugin_options
def add(path: Path, promoted: bool, plugin_options: PluginOptions) -> None:
    """Add the saved policy at PATH, such as runs/digits-1/policy, as a version without a parent, and sign it."""
    from esper_app.api import load_policy, load_selected
    from esper_app_simic.fitting import fits
    from esper_oona.api import keyring, state_directory
    from esper_runs.printing import echo
    from esper_simic.api import PackedPolicy, make_update

    plugins = load_selected(plugin_options)
    tensors = load_policy(path).path
    packed = PackedPolicy.read(tensors.parent, tensors.with_suffix(".json").name, tensors.name)
    update = make_update(packed, None, None, keyring(state_directory()))
    with _store(make=True) as store:
        new = store.add(update, packed, fits(plugins))
        echo(f"{'added' if new else 'already there'}: {update.version}")
        if promoted:
            store.promote(update.version, fits(plugins), because="by hand")
            echo(f"champion: {update.version}")


@policy.command(short_help="Make a version the champion.")
@click.argument("version")
@click.option("--new-line", is_flag=True, help="A version without a parent takes the place of another champion.")
@click.option("--because", default="by hand", metavar="TEXT", help="For the history.")
@plugin_options
def promote(version: str, new_line: bool, because: str, plugin_options: PluginOptions) -> None:
    """Make VERSION the champion, if it is signed, comes from the champion, has passed its validation, and fits."""
    from esper_app.api import load_selected
    from esper_app_simic.fitting import fits
    from esper_runs.printing import echo

    plugins = load_selected(plugin_options)
    with _store() as store:
        before = store.champion()
        store.promote(version, fits(plugins), new_line=new_line, because=because)
    echo(f"champion: {version} (before: {before or 'none'})")


@policy.command(short_help="Go back to the champion before this one.")
@click.option("--because", default="by hand", metavar="TEXT", help="For the history.")
def rollback(because: str) -> None:
    """Go back to the champion before this one, which cannot be promoted again."""
    from esper_runs.printing import echo

    with _store() as store:
        gone, champion = store.rollback(because=because)
    echo(f"champion: {champion} (rolled back: {gone})")


@policy.command(short_help="Take policies in from a bus.")
@click.option("--bus", "url", metavar="URL", required=True, help="The bus on which `esper simic` publishes.")
@click.option("--promote", "promoted", is_flag=True, help="Make what passes the champion.")
@plugin_options
@click.pass_context
def receive(context: click.Context, url: str, promoted: bool, plugin_options: PluginOptions) -> None:
    """Take in the policies that are on a bus, each once: signature, parent, schema, catalogue and shapes are verified.

    What is refused is named here and on the bus. Exit code 1 if something is.
    """
    from esper_app_simic.receiving import receive_all

    context.exit(receive_all(url, plugin_options, promote=promoted))


def _as_data(it: "PolicyVersion") -> dict[str, Any]:
    from attrs import asdict

    from esper_core.api import plain

    update = {name: value for name, value in asdict(it.update, recurse=True).items() if name != "payload"}
    update["signature"] = None if it.update.signature is None else it.update.signature.hex()
    update["issued_at"] = it.update.issued_at.isoformat()
    if (validation := update["validation"]) is not None:
        validation["validated_at"] = validation["validated_at"].isoformat()
    data = {"version": it.version, "parent": it.parent, "state": it.state, "added_at": it.added_at}
    return {**data, "update": plain(update)}


def _returns(it: "PolicyVersion") -> str:
    validation = it.update.validation
    if validation is None:
        return "not validated"
    before = "" if validation.baseline_reward is None else f" ({validation.baseline_reward:+.3f})"
    return f"{validation.mean_reward:+.3f}{before}"


def _validation_lines(it: "PolicyVersion") -> Iterator[str]:
    validation = it.update.validation
    if validation is None:
        yield "validation: none"
        return
    difference = validation.metrics.get("mean paired difference")
    error = validation.metrics.get("standard error of the difference")
    yield f"validation: {'passed' if validation.passed else 'failed'} on {validation.trajectories} random seeds"
    if difference is not None and error is not None:
        yield f"  mean return {_returns(it)}, mean paired difference {difference:+.4f}, standard error {error:.4f}"
    for failure in validation.failures:
        yield f"  {failure}"


def _time(at: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
