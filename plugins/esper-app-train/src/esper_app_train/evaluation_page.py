"""The page of ``esper eval``, and the same as data."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from esper_app_train.evaluation import PHASES, Evaluation, paired_scores, red_flags
from esper_core.api import Op, plain
from esper_runs.formatting import MISSING, loss, percent, points, whole
from esper_runs.statistics import PairedResult, paired_result
from esper_runs.tables import Cell, Column, Table
from esper_runs.terminal import Terminal


def evaluation_page(found: Sequence[Evaluation], terminal: Terminal) -> Iterator[RenderableType]:
    """Yield how good the policies are, what they did, and how they differ."""
    seeds = [str(it.seed) for it in found[0].seeds]
    title = f"on the random seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: means, with 95 % intervals of differences"
    yield terminal.section(title, Text(), terminal.table(_scores(found)))
    yield Text()
    yield terminal.section("what was chosen where there was a choice", Text(), terminal.table(_actions(found)))
    for it in found:
        if it.calibration is not None or red_flags(it):
            yield Text()
            yield terminal.section(it.policy, *map(terminal.paragraph, _remarks(it)))
    if len(found) > 1:
        yield Text()
        title = f"{found[0].policy} against the others, seed by seed"
        yield terminal.section(title, Text(), terminal.table(_differences(found)))


def as_data(found: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the evaluations with everything that the page says, as plain data."""
    first = found[0]
    return [
        {
            **plain(it),
            "beside_twins": plain(_paired(it)),
            "first_against_it": None if it is first else plain(_paired(first, it)),
            "red_flags": red_flags(it),
        }
        for it in found
    ]


def _scores(found: Sequence[Evaluation]) -> Table:
    by_accuracy = all(it.by_accuracy for it in found)
    write = percent if by_accuracy else loss
    columns = ["policy", *(["accuracy", "twin"] if by_accuracy else ["loss", "twin"]), "gain", "reward"]
    rows = []
    for it in found:
        own, twins = (
            [seed.accuracy for seed in it.seeds] if by_accuracy else [seed.loss for seed in it.seeds],
            [seed.twin_accuracy for seed in it.seeds] if by_accuracy else [seed.twin_loss for seed in it.seeds],
        )
        cells: list[Cell | str] = [
            it.policy,
            write(_mean(own)),
            write(_mean(twins)),
            _interval(_paired(it), by_accuracy),
        ]
        cells += [f"{fmean(seed.total_reward for seed in it.seeds):+.3f}"]
        cells += [whole(fmean(seed.parameters for seed in it.seeds)), *_seeds(it)]
        rows.append(tuple(cells))
    more = [Column(name, right=True, spare=True) for name in ("parameters", "seeds", "kept", "culled")]
    titles = [Column(columns[0]), *(Column(name, right=True) for name in columns[1:])]
    return Table(columns=(*titles, *more), rows=tuple(rows))


def _seeds(it: Evaluation) -> list[str]:
    return [str(sum(getattr(seed, name) for seed in it.seeds)) for name in ("germinated", "kept", "culled")]


def _actions(found: Sequence[Evaluation]) -> Table:
    columns = (Column("policy"), Column("phase"), *(Column(op.name, right=True) for op in Op))
    rows = []
    for it in found:
        for phase in PHASES:
            counts = it.actions[phase]
            number = sum(counts.values())
            shares = [percent(counts[op.name] / number) if number else MISSING for op in Op]
            rows.append((it.policy if phase == PHASES[0] else "", phase, *shares))
    return Table(columns=columns, rows=tuple(rows))


def _remarks(it: Evaluation) -> Iterator[str]:
    if it.calibration is not None:
        found = it.calibration
        related = "no correlation can be told" if found.correlation is None else f"correlation {found.correlation:.2f}"
        yield (
            f"Values beside what came, {found.steps} steps: {related}, mean error {found.mean_error:.3f}, on average "
            f"{abs(found.bias):.3f} too {'high' if found.bias > 0 else 'low'}."
        )
    if it.certainty is not None:
        yield f"The most probable action had on average the probability {it.certainty:.2f}."
    for flag in red_flags(it):
        yield f"Red flag: {flag}."


def _differences(found: Sequence[Evaluation]) -> Table:
    first, *others = found
    rows = []
    for other in others:
        result, by_accuracy = _paired(first, other), first.by_accuracy and other.by_accuracy
        p = MISSING if result is None or result.p is None else f"{result.p:.3f}"
        rows.append((other.policy, _interval(result, by_accuracy), p, str(result.pairs if result else 0)))
    columns = (
        Column("against"),
        Column("difference", right=True),
        Column("p", right=True),
        Column("pairs", right=True),
    )
    return Table(columns=columns, rows=tuple(rows))


def _paired(one: Evaluation, other: Evaluation | None = None) -> PairedResult | None:
    differences = paired_scores(one, other)
    return paired_result(differences) if differences else None


def _interval(found: PairedResult | None, by_accuracy: bool) -> Cell | str:
    """A mean with its interval; green or red where the interval does not hold 0."""
    if found is None:
        return MISSING
    write = points if by_accuracy else (lambda value: loss(value, signed=True))
    text = write(found.mean)
    if found.low is not None and found.high is not None:
        ends = [write(end).removesuffix(" points") for end in (found.low, found.high)]
        text += f" [{ends[0]}, {ends[1]}]"
    return Cell(text, ("good" if found.mean > 0 else "bad") if found.clear else "")


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
