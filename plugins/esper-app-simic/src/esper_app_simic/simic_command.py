"""``esper simic``: learn from the reports of runs."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, plugin_options

if TYPE_CHECKING:
    from esper_app_simic.service import Settings

_COUNT = click.IntRange(min=1)

#: Each seed is two whole hosts with their twins.
_MOST_SEEDS = 1_000


@click.group(short_help="Learn from the reports of runs, and publish what is better.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the keys, the reports and the policies.  [default: ESPER_STATE, or .esper]",
)
def simic(state: Path | None) -> None:
    """Learn from the reports of runs, validate what comes of it, and publish it.

    Runs say what they have lived through with --bus, and begin with the champion by --policy champion. `esper policy`
    shows what has come of it.
    """
    if state is not None:
        # What looks for the state directory reads it there.
        os.environ["ESPER_STATE"] = str(state)


def _seeds(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    matched = re.fullmatch(r"(\d{1,18})-(\d{1,18})", value)
    found = range(int(matched[1]), int(matched[2]) + 1) if matched else range(0)
    if not 2 <= len(found) <= _MOST_SEEDS:
        what = f"{value!r} is not a range of 2 to {_MOST_SEEDS} seeds such as 900001-900008"
        raise click.BadParameter(f"{what}: of one there is no standard error")
    return tuple(found)


@simic.command(short_help="Take reports in, and learn when there are enough.")
@click.option("--bus", "url", metavar="URL", required=True, help="The bus on which runs report, such as sqlite:.")
@click.option("--once", is_flag=True, help="Take in what is there, learn at most once, and end.")
@click.option("--least", type=_COUNT, default=4, show_default=True, help="Learn from so many new reports or more.")
@click.option("--most", type=_COUNT, default=64, show_default=True, help="Learn from the newest so many at most.")
@click.option(
    "--replay",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Learn also from so many reports of earlier versions, by V-trace.",
)
@click.option(
    "--seeds",
    metavar="FIRST-LAST",
    default="900001-900008",
    show_default=True,
    callback=_seeds,
    help="The random seeds of the hosts on which champion and challenger are compared. Runs must have others.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0.0),
    default=0.0,
    show_default=True,
    help="A challenger may be this much worse than the champion, in mean return.",
)
@click.option(
    "--table",
    metavar="FILE",
    help="Try both on a table of trainings too, whose best return is known; `bundled` comes with "
    "esper-adapter-gymnasium. The same margin holds for it.",
)
@click.option(
    "--table-episodes", type=_COUNT, default=16, show_default=True, help="Episodes that each plays on the table."
)
@click.option("--promote", is_flag=True, help="Make a challenger that has passed the champion at once.")
@click.option("--config", "-c", "file", metavar="FILE", type=click.Path(path_type=Path), help="Of the compared runs.")
@click.option("--set", "-s", "sets", multiple=True, metavar="KEY=VALUE", help="A setting of them. Repeatable.")
@plugin_options
@click.pass_context
def run(
    context: click.Context,
    url: str,
    once: bool,
    least: int,
    most: int,
    replay: int,
    seeds: tuple[int, ...],
    margin: float,
    table: str | None,
    table_episodes: int,
    promote: bool,
    file: Path | None,
    sets: tuple[str, ...],
    plugin_options: PluginOptions,
) -> None:
    """Take reports in from a bus, learn from those of the champion, and publish a challenger that is no worse.

    It runs until it is asked to end (SIGTERM, Ctrl-C): what has been taken in is kept then, and what it was about to
    learn is learned by the next one. With --once the exit code is 1 if a challenger has not passed.
    """
    # Imported here: help needs none of it.
    from esper_app_simic.held_out import HeldOut
    from esper_app_simic.service import Settings
    from esper_app_simic.tabular import OnTable
    from esper_simic.api import Limits

    settings = Settings(
        least=least,
        most=most,
        replay=replay,
        limits=Limits(seeds=len(seeds), margin=margin),
        held_out=HeldOut(seeds=seeds, file=file, sets=sets),
        promote=promote,
        on_table=None if table is None else OnTable(table=table, episodes=table_episodes),
    )
    context.exit(serve(url, settings, plugin_options, once=once))


def serve(url: str, settings: "Settings", plugin_options: PluginOptions, *, once: bool = False) -> int:
    """Run Simic in this process until SIGTERM or SIGINT; return its exit code.

    Args:
        url: the address of the bus.
        settings: what it does.
        plugin_options: which plugins it uses.
        once: learn at most once, and end.
    """
    from esper_app.api import load_selected
    from esper_app_simic.service import Simic
    from esper_core.api import ExitCode
    from esper_oona.api import keyring, open_shared_bus, state_directory
    from esper_runs.printing import echo

    plugins = load_selected(plugin_options)
    state = state_directory()
    bus = open_shared_bus(url, plugins.registry)
    address = url.partition("?")[0]
    service = Simic(bus, address, state, keyring(state), plugins, settings, lambda line: echo(f"simic: {line}"))
    before = {it: signal.signal(it, lambda *_: service.stop()) for it in (signal.SIGTERM, signal.SIGINT)}
    try:
        if not once:
            service.run()
            return ExitCode.OK
        service.take_in()
        outcome = service.learn_if_enough()
        if outcome is None:
            echo("simic: there is not enough to learn from; esper simic status says what is there")
        return ExitCode.OK if outcome in (None, "published") else ExitCode.FAILED
    finally:
        service.close()
        bus.close()
        for number, handler in before.items():
            signal.signal(number, handler)


@simic.command(short_help="Show the reports, and what came of learning from them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show how many reports there are, which are not learned from and why, and what came of learning."""
    from esper_runs.printing import echo, echo_json
    from esper_runs.tables import Column, Table
    from esper_runs.terminal import Terminal

    found = _status()
    if as_json:
        echo_json(found)
        return
    echo(f"champion: {found['champion'] or 'none'}")
    rows = [
        (it["version"], str(it["reports"]), str(it["steps"]), f"{it['mean_total_reward']:+.3f}", it["unused"] or "")
        for it in found["reports"]
    ]
    if rows:
        numbers = [Column(it, right=True, spare=it == "STEPS") for it in ("REPORTS", "STEPS", "MEAN REWARD")]
        columns = (Column("VERSION"), *numbers, Column("NOT LEARNED FROM"))
        terminal = Terminal(sys.stdout)
        terminal.print(terminal.table(Table(columns=columns, rows=tuple(rows))))
    for it in found["refused"]:
        echo(f"refused: {it['count']} reports, {it['reason']}, the last one {it['last_id']}")
    for it in found["attempts"]:
        why = f": {it['why']}" if it["why"] else ""
        echo(f"{it['challenger'] or it['parent']}: {it['outcome']}, from {it['reports']} reports{why}")


def _status() -> dict[str, Any]:
    from attrs import asdict

    from esper_oona.api import keyring, state_path
    from esper_simic.api import POLICIES, REPORTS, PolicyStore, ReplayStore, unused

    state = state_path()
    if not any((state / it).exists() for it in (POLICIES, REPORTS)):  # who looks makes nothing
        return {"champion": None, "reports": [], "refused": [], "attempts": []}
    policies, reports = PolicyStore(state, keyring(state)), ReplayStore(state)
    try:
        champion = policies.champion()
        facts = None if champion is None else policies.read(champion)[2]
        chain = [] if champion is None else policies.chain(champion)
        kept = []
        for it in reports.kept():
            why = "no-champion" if facts is None or champion is None else unused(it, champion, facts, chain)
            kept.append({**asdict(it.facts), **{k: v for k, v in asdict(it).items() if k != "facts"}, "unused": why})
        return {
            "champion": champion,
            "reports": kept,
            "refused": [asdict(it) for it in reports.refused()],
            "attempts": [asdict(it) for it in reports.attempts()],
        }
    finally:
        policies.close()
        reports.close()
