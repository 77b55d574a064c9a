"""``esper runs``: list runs, and clean up."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from time import time

import click

from esper_app_report.pruning import PrunePlan, PruneRule, mend_last, prune_plan, remove_run
from esper_runs.formatting import MISSING, size, whole
from esper_runs.printing import echo, echo_json
from esper_runs.result import UNFINISHED, RunEnd
from esper_runs.run_directory import RUNS
from esper_runs.run_figures import figures_in_words, hosts_in_words
from esper_runs.run_list import DAMAGED, RunSummary, list_runs
from esper_runs.tables import Column, Table

_OUTCOMES = [*(end.value for end in RunEnd), UNFINISHED, DAMAGED]
_COLUMNS = (
    Column("RUN"),
    Column("TASK"),
    Column("POLICY", spare=True),
    Column("SEED", right=True, spare=True),
    Column("OUTCOME"),
    Column("HOSTS", right=True),
    *(Column(title, right=True) for title in ("EPOCHS", "GROWN", "TWIN", "DIFFERENCE")),
    Column("PARAMETERS", right=True, spare=True),
    Column("STARTED", spare=True),
    Column("SIZE", right=True, spare=True),
)

_MEANS = (
    "Of several hosts the figures are means; HOSTS says over how many of them, where not all were measured. "
    "`esper show RUN` has each host."
)

_directory = click.option(
    "--runs",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help=f"The directory that holds the runs.  [default: {RUNS}]",
)


@click.group(short_help="List runs, and clean up.", invoke_without_command=True)
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print a list of records.")
@click.pass_context
def runs(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """List runs, the newest first; figures are accuracies on the test split, or losses in nats where there is none.

    Of several hosts they are means.
    """
    ctx.obj = directory or Path(RUNS)
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json is for the list, not for {ctx.invoked_subcommand}")
        return
    found = list_runs(ctx.obj)
    if as_json:
        echo_json(found)
    elif found:
        _print(found)
    else:
        echo(f"no runs in {ctx.obj}")


@runs.command(short_help="Remove runs.")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@_directory
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="All but the newest N of the directory.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Those that began longer ago than this."
)
@click.option(
    "--outcome", "outcomes", type=click.Choice(_OUTCOMES), multiple=True, help="Those that ended so. Repeatable."
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def prune(
    ctx: click.Context,
    names: tuple[str, ...],
    directory: Path | None,
    keep: int | None,
    older_than: float | None,
    outcomes: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove the runs to which every condition applies: their directories, with everything in them.

    Directories that are no runs are never touched. The run that `last` leads to, and those that may still go on, are
    only removed where RUN names them.
    """
    where = directory or ctx.obj
    rule = PruneRule(names=names, keep=keep, older_than_days=older_than, outcomes=outcomes)
    if rule.empty:
        raise click.UsageError("say which runs to remove: RUN, --keep, --older-than or --outcome")
    found = list_runs(where)
    _check_names(names, found, where)
    plan = prune_plan(found, rule, time())
    _show(plan)
    if not plan.doomed or dry_run:
        echo("nothing is removed")
        return
    if not yes:
        click.confirm(f"Remove {_count(plan)} from {where}?", abort=True)
    for run in plan.doomed:
        remove_run(where / run.name)
    last = mend_last(where)
    echo(f"removed {_count(plan)}" + (f"; last is {last}" if last else ""))


def _check_names(names: tuple[str, ...], found: list[RunSummary], where: Path) -> None:
    from esper_core.api import EsperError, did_you_mean

    known = [run.name for run in found]
    for name in names:
        if name not in known:
            raise EsperError("E505", f'there is no run "{name}" in {where}', fix=did_you_mean(name, known))


def _show(plan: PrunePlan) -> None:
    for run, reason in plan.spared:
        echo(f"left alone: {run.name} ({reason})")
    if plan.doomed:
        _print(plan.doomed)


def _count(plan: PrunePlan) -> str:
    number = len(plan.doomed)
    return f"{number} {'run' if number == 1 else 'runs'} ({size(sum(run.bytes for run in plan.doomed))})"


def _print(found: Sequence[RunSummary]) -> None:
    from esper_runs.terminal import Terminal

    terminal = Terminal(sys.stdout)
    several = any((run.hosts or 1) > 1 for run in found)
    kept = [several or column.title != "HOSTS" for column in _COLUMNS]
    rows = tuple(tuple(compress(_row(run), kept)) for run in found)
    terminal.print(terminal.table(Table(columns=tuple(compress(_COLUMNS, kept)), rows=rows)))
    if several:
        terminal.print("", terminal.paragraph(_MEANS))


def _row(run: RunSummary) -> tuple[str, ...]:
    started = datetime.fromtimestamp(run.started, UTC) if run.started else None
    return (
        f"{run.name} (last)" if run.last else run.name,
        run.task or MISSING,
        run.policy or MISSING,
        MISSING if run.seed is None else str(run.seed),
        run.outcome,
        hosts_in_words(run),
        f"{whole(run.epochs)}/{whole(run.planned_epochs)}",
        *figures_in_words(run),
        whole(run.parameters),
        f"{started:%Y-%m-%d %H:%M}" if started else MISSING,
        size(run.bytes),
    )
