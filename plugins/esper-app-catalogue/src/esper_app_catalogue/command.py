"""``esper catalogue``: look at all blueprints, measure and probe them, and approve those that need it."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, option_values, plugin_options

if TYPE_CHECKING:
    from esper_app_catalogue.listing import KeptEntry
    from esper_karn.api import CatalogueEntry, Keeper, Query

#: Of `esper_karn.api.Tier` and `Layout`, which are imported only when something is looked for.
TIERS, LAYOUTS = ("safe", "experimental", "high-risk"), ("BD", "BTD", "NCHW")


@click.group(short_help="Look at blueprints; measure, probe and approve them.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, in which approvals, benchmarks and safety sheets are kept.  "
    "[default: ESPER_STATE, or .esper]",
)
def catalogue(state: Path | None) -> None:
    """Look at all installed blueprints, measure and probe them, and approve those that need it.

    NAME is a blueprint's name, or DISTRIBUTION/NAME where two distributions offer one of the name.
    """
    if state is not None:
        # What looks for the state directory reads it there, in processes that this one starts too.
        os.environ["ESPER_STATE"] = str(state)


def _query_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option("--tier", type=click.Choice(TIERS), help="Of this tier."),
            click.option("--tag", "tags", multiple=True, metavar="TAG", help="With this tag. Repeatable: with all."),
            click.option("--layout", type=click.Choice(LAYOUTS), help="For sites of this layout."),
            click.option("--stage", type=click.IntRange(0, 6), help="Fit for this stage of a curriculum."),
            click.option("--conservative", is_flag=True, help="Safe ones only, which learn and can run here."),
        )
    ):
        command = option(command)
    return command


def _query(tier: str | None, tags: Sequence[str], layout: str | None, stage: int | None, conservative: bool) -> "Query":
    from esper_core.api import Layout
    from esper_karn.api import Query, Tier

    return Query(
        tier=None if tier is None else next(it for it in Tier if it.title == tier),
        tags=frozenset(tags),
        layout=None if layout is None else Layout(layout),
        stage=stage,
        conservative=conservative,
    )


def _entries(options: PluginOptions) -> tuple["CatalogueEntry", ...]:
    from esper_app.api import load_selected
    from esper_karn.api import catalogue as all_entries

    return all_entries(load_selected(options).registry)


def _found(entries: Sequence["CatalogueEntry"], query: "Query") -> tuple["CatalogueEntry", ...]:
    """Return the entries that a query matches; a tag that none of all has is a mistake, and not an empty list."""
    from esper_core.api import did_you_mean
    from esper_karn.api import find

    known = sorted({tag for it in entries for tag in it.tags})
    for tag in sorted(query.tags - {*known}):
        raise click.BadParameter(f"no installed blueprint has {tag!r}; {did_you_mean(tag, known)}", param_hint="--tag")
    return find(entries, query)


def _entry(name: str, options: PluginOptions) -> "CatalogueEntry":
    from esper_app.api import load_selected
    from esper_karn.api import entry_of

    return entry_of(load_selected(options).registry, name)


def _keeper() -> "Keeper":
    from esper_karn.api import Keeper, state_path

    return Keeper(state_path())


@catalogue.command(short_help="List blueprints, and what a run has to do to use them.")
@_query_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all that is known of each.")
@plugin_options
def ls(as_json: bool, plugin_options: PluginOptions, **query: Any) -> None:
    """List the installed blueprints that are looked for; all, if nothing is."""
    from esper_app_catalogue.listing import KeptEntry, catalogue_table, remarks
    from esper_runs.printing import echo, echo_json
    from esper_runs.terminal import Terminal

    keeper = _keeper()
    kept = [KeptEntry.of(it, keeper) for it in _found(_entries(plugin_options), _query(**query))]
    if as_json:
        echo_json([it.as_data() for it in kept])
    elif not kept:
        echo("no installed blueprint is what was asked for")
    else:
        terminal = Terminal(sys.stdout)
        terminal.print(terminal.table(catalogue_table(kept)))
        terminal.print(*(terminal.paragraph(it, lead="note: ") for it in remarks(kept)))


@catalogue.command(short_help="Show all that is known of a blueprint.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
def show(name: str, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show what is recorded of NAME, its options with their bounds, its safety sheet and its benchmark."""
    from esper_app_catalogue.listing import KeptEntry

    kept = KeptEntry.of(_entry(name, plugin_options), _keeper())
    _show(kept, as_json)


def _show(kept: "KeptEntry", as_json: bool) -> None:
    from esper_app_catalogue.listing import page
    from esper_runs.printing import echo_json
    from esper_runs.terminal import Terminal

    if as_json:
        echo_json(kept.as_data())
    else:
        terminal = Terminal(sys.stdout)
        terminal.print(*page(kept, terminal))


@catalogue.command(short_help="Choose a blueprint: the same one for the same context.")
@click.argument("context")
@_query_options
@plugin_options
def choose(context: str, plugin_options: PluginOptions, **query: Any) -> None:
    """Print the name of one of the blueprints that are looked for, always the same for CONTEXT, a text.

    Those that need an approval are left out unless they have one. The rule: sort by DISTRIBUTION/NAME; the index is
    the first eight bytes of the SHA-256 of CONTEXT, as an unsigned number, modulo the number of blueprints.
    """
    from esper_karn.api import choose as chosen
    from esper_runs.printing import echo

    keeper, entries = _keeper(), _entries(plugin_options)
    approved = [it.id for it in entries if it.needs_approval and keeper.approved(it)]
    echo(chosen(_found(entries, _query(**query)), context, approved).id)


def _shape(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    for value in values:
        if not re.fullmatch(r"[1-9][0-9]{0,6}(x[1-9][0-9]{0,6}){1,3}", value):
            raise click.BadParameter(f"{value!r} must be two to four sizes such as 32x16x16x16, the batch first")
    return tuple(tuple(map(int, value.split("x"))) for value in values)


_set_option = click.option(
    "--set",
    "options",
    multiple=True,
    metavar="OPTION=VALUE",
    callback=option_values,
    help="An option of it. Repeatable.",
)


@catalogue.command(short_help="Measure what seeds of a blueprint cost on this machine.")
@click.argument("name")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    callback=_shape,
    metavar="BxC[xHxW]",
    help="Of the activation, the batch first: 32x16x16x16 (images), 32x32x64 (sequences), 64x64 (vectors). Repeatable.",
)
@click.option("--repetitions", type=click.IntRange(min=5), default=30, show_default=True, help="How many passes.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of torch.")
@_set_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
def bench(
    name: str,
    shapes: tuple[tuple[int, ...], ...],
    repetitions: int,
    threads: int,
    options: dict[str, Any],
    as_json: bool,
    plugin_options: PluginOptions,
) -> None:
    """Measure seeds of NAME, and keep it: latency of forward and backward, throughput, parameters and FLOPs.

    Medians and 95th percentiles of passes after five that warm up, on the CPU in float32. Latencies hold for this
    machine, with what else it had to do. FLOPs are those of one sample forward: products, convolutions and attention.
    """
    from esper_app_catalogue.listing import KeptEntry
    from esper_app_catalogue.measuring import benchmark

    entry, keeper = _entry(name, plugin_options), _keeper()
    measured = benchmark(entry, entry.options(options), shapes=shapes, repetitions=repetitions, threads=threads)
    keeper.keep(entry, measured)
    _show(KeptEntry.of(entry, keeper), as_json)


@catalogue.command(short_help="Probe a blueprint, and keep its safety sheet.")
@click.argument("name")
@click.option(
    "--timeout", type=click.FloatRange(min=1.0), default=120.0, show_default=True, help="Seconds for each probe."
)
@_set_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
@click.pass_context
def probe(
    context: click.Context,
    name: str,
    timeout: float,
    options: dict[str, Any],
    as_json: bool,
    plugin_options: PluginOptions,
) -> None:
    """Probe NAME itself in a process of its own, and keep what was found: its safety sheet.

    Probes are conformance checks: values that are not numbers, explosion, vanishing gradients, precision, isolation,
    noise, memory, and probes that do not end. Exit code 1 if something was found.
    """
    from esper_app_catalogue.listing import KeptEntry
    from esper_app_catalogue.probing import safety_sheet

    entry, keeper = _entry(name, plugin_options), _keeper()
    sheet = safety_sheet(entry, options, plugin_options, timeout=timeout)
    keeper.keep(entry, sheet)
    _show(KeptEntry.of(entry, keeper), as_json)
    context.exit(1 if "found" in sheet.hazards.values() else 0)


@catalogue.command(short_help="Approve a blueprint that is high-risk or quarantined.")
@click.argument("name")
@click.option("--because", default="", help="Why, for those who look at it later.")
@plugin_options
def approve(name: str, because: str, plugin_options: PluginOptions) -> None:
    """Approve NAME, as it is now: runs of this state directory may use it. Another version needs another approval."""
    from esper_karn.api import require_fitting
    from esper_runs.printing import echo

    entry, keeper = _entry(name, plugin_options), _keeper()
    require_fitting(entry)
    if not (entry.needs_approval or entry.needs_naming):
        echo(f"{entry.id} is {entry.tier.title}, and needs no approval")
        return
    approval = keeper.approve(entry, because)
    echo(f"approved: {entry.id}, version {approval.version or 'of this process'}")
    sheet = keeper.safety_sheet(entry)
    if sheet is None:
        echo(f"it was never probed on this machine: esper catalogue probe {entry.id}")
    elif found := [hazard for hazard, outcome in sheet.hazards.items() if outcome == "found"]:
        echo(f"its safety sheet of {sheet.circumstances.at} found: {', '.join(found)}")


@catalogue.command(short_help="Revoke an approval.")
@click.argument("name")
@plugin_options
def revoke(name: str, plugin_options: PluginOptions) -> None:
    """Revoke the approval of NAME. Runs that go on keep it; none begins or is resumed with it."""
    from esper_runs.printing import echo

    entry, keeper = _entry(name, plugin_options), _keeper()
    if not keeper.revoke(entry):
        raise click.ClickException(f"{entry.id} is not approved")
    echo(f"revoked: {entry.id}")
