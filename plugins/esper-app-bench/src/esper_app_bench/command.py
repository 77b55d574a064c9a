"""``esper bench``: benchmarks of Esper itself."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, is_saved_policy, locked_option, plugin_options, read_policy_card
from esper_app_bench.shared_options import Progress, jobs_option, retry_option
from esper_runs.printing import echo

if TYPE_CHECKING:
    from esper_app_bench.growth.measuring import TaskMeasured
    from esper_app_bench.growth.tasks import BenchTask
    from esper_studies import StudyRun

_BUDGETS = ("smoke", "quick", "full")


@click.group(short_help="Benchmarks of growing.")
def bench() -> None:
    """Benchmarks of growing: when it pays, measured by a fixed plan."""


@bench.command(short_help="When growing pays: against the host, a static network and others, at equal compute.")
@click.option(
    "--budget",
    type=click.Choice(_BUDGETS),
    default="quick",
    show_default=True,
    help="smoke: that it works, at most 5 minutes on two processors. quick: digits, at most 15. full: hours.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Directory of the runs, the report and the tables. What is there already is not run again.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task of the budget. Repeatable.")
@click.option(
    "--policy", metavar="PATH", help="A saved policy, such as runs/digits-1/policy/best.json, as one more arm."
)
@click.option(
    "--stop-after",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    help="Begin no run after that, and report what is there; the same command goes on.",
)
@jobs_option
@retry_option
@plugin_options
@locked_option
def growth(
    budget: str,
    output: Path,
    tasks: tuple[str, ...],
    policy: str | None,
    stop_after: float | None,
    jobs: int,
    retry_failed: bool,
    plugin_options: PluginOptions,
) -> None:
    """Measure when growing pays, by the plan in docs/growth-plan.md, and write one report.

    Every arm chooses among the same three learning rates on validation, with random seeds of its own; then all arms are
    measured on the same random seeds. The test split is read once, at the end of each run. Ctrl-C ends it, and the same
    command goes on where it was.
    """
    # Imported here: help needs none of it.
    from esper_app_bench.growth.analysis import analyse
    from esper_app_bench.growth.arms import arms
    from esper_app_bench.growth.measuring import measure
    from esper_app_bench.growth.output import PAGE, tables, write
    from esper_app_bench.growth.tables import sentences, state
    from esper_app_bench.growth.tasks import BUDGETS
    from esper_runs.terminal import Terminal
    from esper_studies import Study

    if policy is not None and not is_saved_policy(policy):
        raise click.BadParameter(f"{policy!r} is no saved policy", param_hint="--policy")
    planned = BUDGETS[budget]()
    if unknown := sorted({*tasks} - {it.name for it in planned}):
        known = ", ".join(it.name for it in planned)
        raise click.BadParameter(f"{budget} has no task {unknown[0]!r}; it has {known}", param_hint="--task")
    chosen = [it for it in planned if not tasks or it.name in tasks]
    all_arms = arms(None if policy is None else str(Path(policy).absolute()), neurons=_can_widen())
    progress = Progress()
    deadline = None if stop_after is None else monotonic() + 60 * stop_after
    with Study(
        output, plugin_options, jobs=jobs, deadline=deadline, retry_failed=retry_failed, told=progress.told
    ) as study:
        measured = [measure(study, task, all_arms, progress.part) for task in chosen]
    analysis = analyse(measured)
    remarks = [*_remarks(measured), *_policy_remark(policy), *_neurons_remark(chosen)]
    only = "".join(f" --task {name}" for name in tasks)
    command = f"esper bench growth --budget {budget}{only} --output {shlex.quote(output.name)}"
    write(output, budget, analysis, all_arms, remarks, command)
    terminal = Terminal(sys.stdout)
    for title, table in tables(analysis):
        terminal.print(terminal.section(title, "", terminal.table(table), ""))
    for sentence in (*sentences(analysis), *remarks, state(analysis)):
        terminal.print(terminal.paragraph(sentence))
    echo(f"report: {output / PAGE}")


def _remarks(measured: "list[TaskMeasured]") -> Iterator[str]:
    from esper_studies import mixed_sources

    if mixed := mixed_sources(_runs(measured)):
        yield f"Not all runs were made by the same code: {', '.join(mixed)} changed in between."
    for it in measured:
        edge = [arm for arm, tuning in it.tuning.items() if tuning.at_the_edge]
        if edge:
            yield f"{it.task.name}: the best learning rate is at an end of the grid for {', '.join(edge)}."


def _runs(measured: "list[TaskMeasured]") -> "Iterator[StudyRun]":
    for it in measured:
        yield from (cell.run for tuning in it.tuning.values() for cell in tuning.cells.values())
        yield from (cell.run for cells in it.cells.values() for cell in cells.values())


def _can_widen() -> bool:
    return find_spec("gromo") is not None


def _neurons_remark(tasks: "Sequence[BenchTask]") -> Iterator[str]:
    if not _can_widen() and any(it.neurons for it in tasks):
        yield (
            "The arms tiny and gradmax are left out: the package gromo is not installed "
            "(pip install 'esper-app-bench[neurons]')."
        )


def _policy_remark(policy: str | None) -> Iterator[str]:
    if policy is None:
        return
    card = read_policy_card(Path(policy))
    yield (
        f"The arm `policy` is {card.policy}, trained on {card.task} in {card.rounds} rounds of {card.hosts} hosts over "
        f"{card.epochs} epochs: {card.rounds * card.hosts} runs, which are not among its FLOPs."
    )
