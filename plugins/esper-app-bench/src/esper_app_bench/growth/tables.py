"""The benchmark's tables, as data for screens and Markdown, and the sentences below them."""

from collections.abc import Callable, Iterator, Sequence

from esper_app_bench.growth.analysis import LEVEL, Analysis, ArmRow, Comparison, Pooled, Spread
from esper_app_bench.growth.arms import GROWN, PRIMARY, Arm
from esper_runs.formatting import MISSING, duration, flops, loss, percent, points, whole
from esper_runs.tables import Cell, Column, Table


def row_table(rows: Sequence[ArmRow]) -> Table:
    """Return a task's arms: quality, size and costs, each as a mean over random seeds."""
    titles = ("accuracy", "loss, nats", "parameters", "FLOPs", "with its search", "time", "rate", "failed")
    columns = (Column("arm"), *(Column(title, right=True) for title in titles), Column("on the front of"))
    return Table(columns=columns, rows=tuple(_row(row) for row in rows))


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Return how the grown network differs from other arms, paired by random seed."""
    titles = ("gain, nats", "95 % interval", "accuracy", "better on", "p", "p, corrected", "smallest shown")
    columns = (Column("task"), Column("against"), *(Column(title, right=True) for title in titles), Column("shown"))
    return Table(columns=columns, rows=tuple(_compared(it) for it in comparisons))


def pooled_table(pooled: Sequence[Pooled]) -> Table:
    """Return the arms over all tasks."""
    titles = ("score, interquartile mean", "95 % interval", f"probability that {GROWN} is better")
    columns = (Column("arm"), *(Column(title, right=True) for title in titles))
    rows = []
    for it in pooled:
        improvement = MISSING if it.improvement is None else percent(it.improvement)
        rows.append((it.arm, loss(it.score.value), _interval(it.score.low, it.score.high), improvement))
    return Table(columns=columns, rows=tuple(rows))


def arm_table(arms: Sequence[Arm]) -> Table:
    """Return what each arm is."""
    rows = tuple((arm.name, f"{arm.says}.") for arm in arms)
    return Table(columns=(Column("arm"), Column("what it is", prose=True)), rows=rows)


def state(analysis: Analysis) -> str:
    """Say whether all that was planned is there."""
    parts = []
    for it in analysis.measured:
        seeds = [len(it.cells.get(arm.name) or {}) for arm in it.arms]
        known = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
        parts.append(f"{it.task.name}: {known} of {len(it.task.seeds)} random seeds")
    whole_ = "complete" if not analysis.missing else f"not complete, {analysis.missing} runs are missing"
    return f"State: {whole_} ({'; '.join(parts)})."


def sentences(analysis: Analysis) -> Iterator[str]:
    """Yield what the primary comparisons show, in sentences, and whether the control is as it must be."""
    for it in analysis.comparisons:
        if it.primary:
            yield _said(it)
    for it in analysis.comparisons:
        control = next(one for one in analysis.measured if one.task.name == it.task).task.control
        if control and it.against in PRIMARY:
            seen = _seen(it)
            yield f"Control {it.task}, against {it.against}: {loss(it.gain.mean, signed=True)} nats; {seen}."


def _seen(it: Comparison) -> str:
    if it.smallest_p > LEVEL:
        return f"{it.gain.pairs} random seeds are too few to tell whether anything comes out"
    if it.gain.low is None or it.gain.high is None or it.gain.low <= 0 <= it.gain.high:
        return "nothing comes out, as it must be"
    return "the interval does not hold 0, although there is nothing"


def _said(it: Comparison) -> str:
    where = f"{it.task}, against {it.against} ({it.gain.pairs} random seeds)"
    better = "growing is better" if it.gain.mean > 0 else "growing is worse"
    what = better if it.clear else "no difference is shown"
    detail = f"{loss(it.gain.mean, signed=True)} nats, {_interval(it.gain.low, it.gain.high)}"
    power = (
        ""
        if it.smallest is None
        else f"; a true difference of {loss(it.smallest)} would be seen in 4 of 5 such studies"
    )
    return f"{where}: {what}: {detail}, better on {it.better}{power}."


def _row(row: ArmRow) -> tuple[Cell | str, ...]:
    searched = MISSING
    if row.search_flops is not None and row.flops.mean is not None:
        searched = flops(row.flops.mean + row.search_flops)
    return (
        row.arm,
        _spread(row.accuracy, percent),
        _spread(row.loss, loss),
        MISSING if row.parameters.mean is None else whole(round(row.parameters.mean)),
        MISSING if row.flops.mean is None else flops(row.flops.mean),
        searched,
        MISSING if row.seconds.mean is None else duration(row.seconds.mean),
        f"{row.rate:g}" + " (edge)" * row.at_the_edge,
        Cell(f"{row.failed} of {row.runs}", "bad" if row.failed else ""),
        ", ".join(row.front) or MISSING,
    )


def _spread(spread: Spread, write: Callable[[float], str]) -> str:
    if spread.mean is None:
        return MISSING
    written = write(spread.mean)
    return written if spread.deviation is None else f"{written} ± {write(spread.deviation)}"


def _compared(it: Comparison) -> tuple[Cell | str, ...]:
    shown = "yes" if it.clear else "no" if it.primary else MISSING
    return (
        it.task,
        it.against + " *" * it.primary,
        loss(it.gain.mean, signed=True),
        _interval(it.gain.low, it.gain.high),
        MISSING if it.accuracy is None else points(it.accuracy),
        f"{it.better} of {it.gain.pairs}",
        MISSING if it.gain.p is None else f"{it.gain.p:.3f}",
        MISSING if it.p is None else f"{it.p:.3f}",
        MISSING if it.smallest is None else loss(it.smallest),
        Cell(shown, ("good" if it.gain.mean > 0 else "bad") if it.clear else ""),
    )


def _interval(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{loss(low, signed=True)} to {loss(high, signed=True)}"
