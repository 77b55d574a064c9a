"""What the benchmark leaves: the tables for a screen, as Markdown, as one page, and all figures as JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from esper_app_bench.growth.analysis import Analysis, loss_of
from esper_app_bench.growth.arms import Arm
from esper_app_bench.growth.knowledge import further_of, knowledge_table
from esper_app_bench.growth.later import ARMS as LATER_ARMS
from esper_app_bench.growth.measuring import Cell, TaskMeasured
from esper_app_bench.growth.tables import arm_table, comparison_table, pooled_table, row_table, sentences, state
from esper_app_bench.page import page, run_grid, run_link
from esper_core.api import plain
from esper_runs.formatting import MISSING, loss, percent
from esper_runs.html.markup import Markup, element, note, table
from esper_runs.printing import json_printable
from esper_runs.run_directory import write_atomically
from esper_runs.tables import Table, markdown

#: Files of the benchmark, in its directory.
PAGE, MARKDOWN, DATA = "report.html", "table.md", "bench.json"

EXPLAINED = (
    "Loss and accuracy are those of the test split, mean ± standard deviation over random seeds. A gain is the other "
    "arm's test loss minus that of `heuristic` on the same random seed: above 0 growing is better. FLOPs are all that "
    "a run has spent, candidates, probes, evaluation and counterfactuals included; `with its search` adds the three "
    "learning rates on one random seed. Comparisons with a star are primary: they are tested, with Holm's correction, "
    "and everything else is only described. Runs that failed count as the constant answer."
)


def tables(analysis: Analysis) -> Iterator[tuple[str, Table]]:
    """Yield the benchmark's tables with their headings."""
    for it in analysis.measured:
        yield it.task.name, row_table(analysis.rows[it.task.name])
        if it.task.old_classes is not None:
            yield f"{it.task.name}: what is known of old and new classes", knowledge_table(it)
    if analysis.comparisons:
        yield "Against `heuristic`, paired by random seed", comparison_table(analysis.comparisons)
    if analysis.pooled:
        yield "Over all tasks", pooled_table(analysis.pooled)


def write(
    directory: Path, budget: str, analysis: Analysis, arms: Sequence[Arm], remarks: Sequence[str], command: str
) -> None:
    """Write the page, the tables and the figures, each whole.

    Args:
        directory: the benchmark's.
        budget: its name.
        analysis: what it says.
        arms: all arms.
        remarks: further sentences, such as that not all runs were made by the same code.
        command: makes it again.
    """
    told = [state(analysis), *sentences(analysis), *remarks]
    lines = [f"Made by `{command}`.", "", *(f"- {it}" for it in told), "", EXPLAINED, ""]
    for title, found in tables(analysis):
        lines += [f"### {title}", "", markdown(found), ""]
    content = {
        MARKDOWN: "\n".join(lines),
        PAGE: _page(budget, analysis, arms, told, command),
        DATA: json_printable(_json(budget, analysis)) + "\n",
    }
    for name, text in content.items():
        write_atomically(directory / name, text.encode())


def _page(budget: str, analysis: Analysis, arms: Sequence[Arm], told: Sequence[str], command: str) -> str:
    parts: list[tuple[str, Sequence[Markup]]] = [
        ("What it says", [element("ul", *(element("li", _plain(it)) for it in told)), note(f"Made by: {command}")]),
    ]
    for title, found in tables(analysis):
        extra = [_grid(it) for it in analysis.measured if it.task.name == title]
        parts.append((_plain(title), [table(found, _plain(title)), *extra]))
    parts.append(("The arms", [table(arm_table(arms), "what each arm trains"), note(_plain(EXPLAINED))]))
    if any(it.task.old_classes is not None for it in analysis.measured):
        what = "what each arm trains where classes arrive later"
        parts.append(("The arms where classes arrive later", [table(arm_table(LATER_ARMS), what)]))
    return page(f"Esper: when growing pays ({budget})", parts)


def _plain(words: str) -> str:
    """Return a sentence without the marks that Markdown has around names."""
    return words.replace("`", "")


def _grid(measured: TaskMeasured) -> Markup:
    rows = []
    for arm in measured.arms:
        cells = measured.cells.get(arm.name) or {}
        found = [_cell(measured, cells.get(seed)) for seed in measured.task.seeds]
        tuned = measured.tuning.get(arm.name)
        tried = [] if tuned is None else [run_link(it.run, f"{rate:g}") for (rate, _), it in tuned.cells.items()]
        rows.append((arm.name, [*found, element("span", *_spaced(tried))]))
    titles = [*(f"seed {seed}" for seed in measured.task.seeds), "rates tried"]
    return run_grid("test loss in nats (accuracy) of every run, with its directory", "arm", titles, rows)


def _spaced(links: Sequence[Markup]) -> Iterator[Markup | str]:
    for link in links:
        yield link
        yield " "


def _cell(measured: TaskMeasured, cell: Cell | None) -> Markup:
    if cell is None:
        return element("span", MISSING)
    accuracy = None if cell.figures is None else cell.figures.accuracy
    words = loss(loss_of(measured, cell)) + (f" ({percent(accuracy)})" if accuracy is not None else "")
    return run_link(cell.run, f"{words}, failed" if cell.figures is None else words)


def _json(budget: str, analysis: Analysis) -> str:
    data: dict[str, Any] = {
        "budget": budget,
        "missing": analysis.missing,
        "tasks": [_task_data(it) for it in analysis.measured],
        "rows": plain(analysis.rows),
        "comparisons": plain(analysis.comparisons),
        "pooled": plain(analysis.pooled),
    }
    return json.dumps(data, indent=1)


def _task_data(measured: TaskMeasured) -> dict[str, Any]:
    later = measured.task.old_classes is not None
    cells = {
        arm: {str(seed): _cell_data(cell, later) for seed, cell in found.items()}
        for arm, found in measured.cells.items()
    }
    return {
        "name": measured.task.name,
        "constant_loss": measured.constant_loss,
        "constant_accuracy": measured.constant_accuracy,
        "validation_loss_by_rate": {
            arm: {str(k): v for k, v in it.losses.items()} for arm, it in measured.tuning.items()
        },
        "cells": cells,
    }


def _cell_data(cell: Cell, later: bool) -> dict[str, Any]:
    figures = None if cell.figures is None else plain(cell.figures)
    data = {"run": cell.run.name, "failure": cell.run.failure, "figures": figures}
    return {**data, "further": further_of(cell)} if later else data
