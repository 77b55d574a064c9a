"""What a network still knows of the classes that it learned first, and what it has learned of those that came later."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from esper_app_bench.growth.arms import GROWN
from esper_app_bench.growth.measuring import Cell, TaskMeasured
from esper_runs.formatting import MISSING, points
from esper_runs.statistics import paired_result
from esper_runs.tables import Column, Table
from esper_studies.trainers import TRAINER

#: Accuracies that are shown, by the title of their column.
_SHOWN = {
    "new": "new_accuracy",
    "old": "old_accuracy",
    "old, told": "told_accuracy",
    "old, before": "before_accuracy",
    "old, told, before": "told_before_accuracy",
}

_COMPARED = ("new", "old, told")


def further_of(cell: Cell) -> Mapping[str, float] | None:
    """Return what the trainer has measured beside its figures; None of a run that failed."""
    result: Mapping[str, Any] | None = cell.run.result
    return None if result is None else result[TRAINER]["further"]


def knowledge_table(measured: TaskMeasured) -> Table:
    """Return the accuracies of a task's arms on old and new classes, with the paired gains of growing.

    "Told" is the accuracy where a sample can only be of one of the old classes. A run that failed knows nothing: it has
    no part in the means, and its random seed none in the gains.
    """
    gains = [Column(f"growing, {title}", right=True) for title in _COMPARED]
    columns = (Column("arm"), *(Column(title, right=True) for title in _SHOWN), Column("runs", right=True), *gains)
    rows = tuple(_row(measured, arm.name) for arm in measured.arms if measured.cells.get(arm.name))
    return Table(columns=columns, rows=rows)


def _row(measured: TaskMeasured, arm: str) -> tuple[str, ...]:
    found = [*_accuracies(measured, arm).values()]
    means = [_percent([it[title] for it in found]) for title in _SHOWN]
    return (arm, *means, f"{len(found)}", *(_gain(measured, arm, title) for title in _COMPARED))


def _accuracies(measured: TaskMeasured, arm: str) -> dict[int, dict[str, float]]:
    known = {seed: further_of(cell) for seed, cell in (measured.cells.get(arm) or {}).items()}
    return {seed: {title: it[key] for title, key in _SHOWN.items()} for seed, it in known.items() if it is not None}


def _percent(values: list[float]) -> str:
    return f"{100 * fmean(values):.1f} %" if values else MISSING


def _gain(measured: TaskMeasured, arm: str, title: str) -> str:
    """By how much growing is more accurate than an arm, with the 95 % interval over random seeds."""
    grown, other = _accuracies(measured, GROWN), _accuracies(measured, arm)
    differences = [grown[seed][title] - other[seed][title] for seed in grown if seed in other]
    if arm == GROWN or not differences:
        return MISSING
    result = paired_result(differences)
    if result.low is None or result.high is None:
        return points(result.mean)
    return f"{points(result.mean)} ({points(result.low)} to {points(result.high)})"
