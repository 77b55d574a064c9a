"""What follows from the cells of the benchmark: rows, comparisons, and figures over all tasks."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev

from attrs import evolve, frozen

from esper_app_bench.growth.arms import GROWN, PRIMARY
from esper_app_bench.growth.measuring import Cell, TaskMeasured
from esper_runs.pareto import pareto_front
from esper_runs.statistics import (
    PairedResult,
    PooledResult,
    holm,
    interquartile_mean_over,
    paired_result,
    probability_of_improvement,
    smallest_difference,
    smallest_p,
)
from esper_studies import RunFigures

#: The level at which all primary comparisons together are tested.
LEVEL = 0.05

#: What a good network has little of, by the title of the column.
COSTS: Mapping[str, Callable[[RunFigures], float | None]] = {
    "parameters": lambda figures: figures.parameters,
    "FLOPs": lambda figures: figures.flops,
    "seconds": lambda figures: figures.seconds,
}


@frozen(kw_only=True)
class Spread:
    """Mean and standard deviation over random seeds; None where they are not known."""

    mean: float | None
    deviation: float | None


@frozen(kw_only=True)
class ArmRow:
    """An arm on a task. Losses are in nats, accuracies 0 to 1; runs that failed count as the constant answer.

    Attributes:
        arm: its name.
        runs, failed: how many random seeds were measured, and in how many of them the run failed.
        rate, at_the_edge: the learning rate that was chosen, and whether it is at an end of the grid.
        loss, accuracy: on the test split.
        parameters, flops, seconds: of the runs that did not fail.
        search_flops: what choosing the learning rate costs, all three rates on one random seed.
        front: the costs in which no other arm of the task has a lower loss for as little or less.
    """

    arm: str
    runs: int
    failed: int
    rate: float
    at_the_edge: bool
    loss: Spread
    accuracy: Spread
    parameters: Spread
    flops: Spread
    seconds: Spread
    search_flops: float | None
    front: tuple[str, ...] = ()


@frozen(kw_only=True)
class Comparison:
    """The grown network against another arm, paired by random seed.

    Attributes:
        task, against: where, and with what.
        primary: it is one of those that are tested.
        gain: the other arm's test loss minus the grown network's, in nats: above 0 growing is better.
        accuracy: mean difference of accuracies, grown minus other; None without accuracies.
        better: on how many seeds the loss is lower.
        p: corrected for all primary comparisons; None of one that is only described.
        smallest: the true mean gain that as many seeds would have shown with a probability of 80 %, in nats.
        smallest_p: the smallest p that the test can give with as many seeds, not corrected.
    """

    task: str
    against: str
    primary: bool
    gain: PairedResult
    accuracy: float | None
    better: int
    p: float | None
    smallest: float | None
    smallest_p: float

    @property
    def clear(self) -> bool:
        """Whether it is shown: the interval does not hold 0, and the corrected p is at most the level."""
        apart = self.gain.low is not None and self.gain.high is not None and (self.gain.low > 0 or self.gain.high < 0)
        return self.primary and apart and self.p is not None and self.p <= LEVEL


@frozen(kw_only=True)
class Pooled:
    """An arm over all tasks that are tested. A run's score is the share of the constant answer's loss that is gone.

    Attributes:
        arm: its name.
        score: the interquartile mean over all runs of all tasks.
        improvement: how probable it is that a run of the grown arm has a higher score than one of this arm.
    """

    arm: str
    score: PooledResult
    improvement: float | None


@frozen(kw_only=True)
class Analysis:
    """All that the benchmark says."""

    measured: tuple[TaskMeasured, ...]
    rows: Mapping[str, tuple[ArmRow, ...]]
    comparisons: tuple[Comparison, ...]
    pooled: tuple[Pooled, ...]

    @property
    def missing(self) -> int:
        """How many cells are not there yet."""
        return sum(it.missing for it in self.measured)


def analyse(measured: Sequence[TaskMeasured]) -> Analysis:
    """Return what follows from what was measured, whole or not.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    return Analysis(
        measured=tuple(measured),
        rows={it.task.name: _rows(it) for it in measured},
        comparisons=_comparisons(measured),
        pooled=_pooled([it for it in measured if it.task.tested]),
    )


def loss_of(measured: TaskMeasured, cell: Cell) -> float:
    """Return a cell's test loss in nats; the constant answer's of a run that failed."""
    return measured.constant_loss if cell.figures is None else cell.figures.loss


def accuracy_of(measured: TaskMeasured, cell: Cell) -> float | None:
    """Return a cell's test accuracy, 0 to 1; the constant answer's of a run that failed."""
    return measured.constant_accuracy if cell.figures is None else cell.figures.accuracy


def _rows(measured: TaskMeasured) -> tuple[ArmRow, ...]:
    rows = [_row(measured, arm.name) for arm in measured.arms if measured.cells.get(arm.name)]
    for title in COSTS:
        costs = [(index, getattr(row, title.lower()).mean, row.loss.mean) for index, row in enumerate(rows)]
        known = [(index, cost, loss) for index, cost, loss in costs if cost is not None and loss is not None]
        for place in pareto_front([(cost, -loss) for _, cost, loss in known]):
            index = known[place][0]
            rows[index] = evolve(rows[index], front=(*rows[index].front, title))
    return tuple(rows)


def _row(measured: TaskMeasured, arm: str) -> ArmRow:
    cells, tuning = [*measured.cells[arm].values()], measured.tuning[arm]
    figures = [cell.figures for cell in cells if cell.figures is not None]
    return ArmRow(
        arm=arm,
        runs=len(cells),
        failed=len(cells) - len(figures),
        rate=tuning.rate,
        at_the_edge=tuning.at_the_edge,
        loss=_spread([loss_of(measured, cell) for cell in cells]),
        accuracy=_spread([accuracy_of(measured, cell) for cell in cells]),
        parameters=_spread([COSTS["parameters"](it) for it in figures]),
        flops=_spread([COSTS["FLOPs"](it) for it in figures]),
        seconds=_spread([COSTS["seconds"](it) for it in figures]),
        search_flops=tuning.flops,
    )


def _spread(values: Sequence[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Spread(mean=None, deviation=None)
    return Spread(mean=fmean(known), deviation=stdev(known) if len(known) > 1 else None)


def _comparisons(measured: Sequence[TaskMeasured]) -> tuple[Comparison, ...]:
    found = [_comparison(it, arm.name) for it in measured for arm in it.arms if arm.name != GROWN]
    known = [it for it in found if it is not None]
    tested = [it for it in known if it.primary]
    planned = sum(it.task.tested for it in measured) * len(PRIMARY)
    # What is still missing will be tested as well.
    ps = [*(1.0 if it.gain.p is None else it.gain.p for it in tested), *[1.0] * (planned - len(tested))]
    corrected = iter(holm(ps))
    return tuple(
        evolve(
            it,
            p=next(corrected) if it.primary else None,
            smallest=_smallest(measured, it, planned),
        )
        for it in known
    )


def _comparison(measured: TaskMeasured, against: str) -> Comparison | None:
    grown, other = (measured.cells.get(name) or {} for name in (GROWN, against))
    seeds = [seed for seed in measured.task.seeds if seed in grown and seed in other]
    if not seeds:
        return None
    gains = _gains(measured, against)
    pairs = [(accuracy_of(measured, grown[seed]), accuracy_of(measured, other[seed])) for seed in seeds]
    accuracies = [one - two for one, two in pairs if one is not None and two is not None]
    return Comparison(
        task=measured.task.name,
        against=against,
        primary=against in PRIMARY and measured.task.tested,
        gain=paired_result(gains),
        accuracy=fmean(accuracies) if len(accuracies) == len(pairs) else None,
        better=sum(gain > 0 for gain in gains),
        p=None,
        smallest=None,
        smallest_p=smallest_p(len(seeds)),
    )


def _gains(measured: TaskMeasured, against: str) -> list[float]:
    grown, other = measured.cells[GROWN], measured.cells[against]
    seeds = [seed for seed in measured.task.seeds if seed in grown and seed in other]
    return [loss_of(measured, other[seed]) - loss_of(measured, grown[seed]) for seed in seeds]


def _smallest(measured: Sequence[TaskMeasured], it: Comparison, planned: int) -> float | None:
    if not it.primary or it.gain.pairs < 2:
        return None
    gains = _gains(next(one for one in measured if one.task.name == it.task), it.against)
    return smallest_difference(stdev(gains), len(gains), LEVEL / planned)


def _pooled(measured: Sequence[TaskMeasured]) -> tuple[Pooled, ...]:
    names = list(dict.fromkeys(arm.name for it in measured for arm in it.arms))
    return tuple(it for name in names if (it := _pooled_arm(measured, name)) is not None)


def _pooled_arm(measured: Sequence[TaskMeasured], arm: str) -> Pooled | None:
    """None where the arm is missing on a task: its mean would be over other tasks than that of the others."""
    scores = [_scores(it, arm) for it in measured]
    if not scores or not all(scores):
        return None
    grown = [_scores(it, GROWN) for it in measured]
    compared = None if arm == GROWN or not all(grown) else [*zip(grown, scores, strict=True)]
    improvement = None if compared is None else probability_of_improvement(compared)
    return Pooled(arm=arm, score=interquartile_mean_over(scores), improvement=improvement)


def _scores(measured: TaskMeasured, arm: str) -> list[float]:
    return [1 - loss_of(measured, cell) / measured.constant_loss for cell in (measured.cells.get(arm) or {}).values()]
