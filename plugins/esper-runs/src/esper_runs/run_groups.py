"""Several runs compared: what differs between their settings, and what that changes, seed by seed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from attrs import evolve, field, frozen

from esper_core.leyline.errors import EsperError
from esper_runs.formatting import MISSING, loss, points
from esper_runs.result import CONTROL, TWIN, pair_results
from esper_runs.run_record import RunRecord
from esper_runs.statistics import PairedResult, paired_result
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import RunVerdict, verdict

#: Settings that do not change what a run computes, or of which each run has its own.
_OF_NO_CONSEQUENCE = {"seed", "name", "runs", "sinks", "telemetry", "hosts", "executor"}

#: This many settings make a label.
_MOST_SETTINGS = 3

#: What the table of comparisons says.
COMPARED_EXPLAINED = (
    "Each random seed is one pair. The interval is that of the mean difference, with a confidence of 95 %; p is the "
    "probability of a mean at least as far from zero, if the signs were chance. A mean in colour is clear: the "
    "interval does not hold zero, and p is at most 0.05, which needs at least six pairs."
)

WITHOUT_SCIPY = "scipy is not installed, so there are means only: pip install 'esper-runs[statistics]' adds intervals."

_COLUMNS = (
    Column("compared"),
    Column("measure"),
    *(Column(title, right=True) for title in ("seeds", "mean", "interval", "p")),
)


@frozen
class _Measure:
    title: str
    of: Callable[[RunVerdict | None], float | None]
    write: Callable[[float], str]


_MEASURES = (
    _Measure("test accuracy", lambda judged: judged.accuracy.difference if judged else None, points),
    _Measure(
        "test loss, nats",
        lambda judged: judged.loss.difference if judged else None,
        lambda value: loss(value, signed=True),
    ),
)


@frozen(kw_only=True)
class RunGroup:
    """Runs with the same settings but for the random seed. In a run with several hosts each has a seed of its own.

    Attributes:
        label: what makes them differ from other groups.
        judged: the verdict on the host with each random seed; None where there is none yet.
        repeats: names of runs with a seed that was there before; of those the first counts.
        without_seed: names of runs whose manifest has no seed, so that they cannot be paired.
    """

    label: str = ""
    judged: Mapping[int, RunVerdict | None] = field(factory=dict)
    repeats: tuple[str, ...] = ()
    without_seed: tuple[str, ...] = ()


def run_groups(records: Sequence[RunRecord]) -> tuple[RunGroup, ...]:
    """Return the runs by their settings, in the order in which settings occur first."""
    found: dict[str, RunGroup] = {}
    settings: dict[str, dict[str, Any]] = {}
    for record in records:
        kept = {key: value for key, value in record.config.items() if key not in _OF_NO_CONSEQUENCE}
        key = json.dumps(kept, sort_keys=True, default=str)
        found[key] = _with(found.get(key, RunGroup()), record)
        settings.setdefault(key, dict(_flat(kept)))
    labels = _labels(list(settings.values()))
    return tuple(evolve(group, label=label) for group, label in zip(found.values(), labels, strict=True))


def _with(group: RunGroup, record: RunRecord) -> RunGroup:
    judged = dict(group.judged)
    for seed, verdict_on_host in _verdicts(record):
        if not isinstance(seed, int):
            return evolve(group, without_seed=(*group.without_seed, record.name))
        if judged.get(seed) is not None:
            return evolve(group, repeats=(*group.repeats, record.name))
        judged[seed] = verdict_on_host
    return evolve(group, judged=judged)


def _verdicts(record: RunRecord) -> Iterator[tuple[Any, RunVerdict | None]]:
    pairs = pair_results(record.result) if record.result is not None else {}
    if len(pairs) < 2:
        yield record.manifest.get("seed"), record.verdict
        return
    seeds = {host["name"]: host["seed"] for host in record.manifest.get("hosts") or ()}
    for name, pair in pairs.items():
        yield seeds.get(name), verdict(pair)


def comparison_of_groups(groups: Sequence[RunGroup]) -> tuple[Table, tuple[str, ...]]:
    """Return what growing changed in each group, and how each differs from the first one, with remarks.

    A figure is the network's minus its twin's, or its control's, positive where growing is better; groups are compared
    by that difference, on the random seeds that they share.
    """
    rows, remarks = [], []
    for title, values, measure in _comparisons(groups):
        if values:
            found, complete = _result(values)
            rows.append(_row(title, measure, found))
            if not complete and WITHOUT_SCIPY not in remarks:
                remarks.append(WITHOUT_SCIPY)
    first = groups[0] if groups else None
    for group in groups:
        if group.repeats:
            names = ", ".join(group.repeats)
            remarks.append(f"Left out, because a run with these settings and this seed is there already: {names}.")
        if group.without_seed:
            remarks.append(f"Left out, because they have no random seed: {', '.join(group.without_seed)}.")
        if first is not None and not group.judged.keys() & first.judged.keys():
            remarks.append(f"{group.label} and {first.label} share no random seed, so they are not compared.")
    return Table(columns=_COLUMNS, rows=tuple(rows)), tuple(remarks)


def _comparisons(groups: Sequence[RunGroup]) -> Iterator[tuple[str, list[float], _Measure]]:
    for group in groups:
        for other in (TWIN, CONTROL):
            beside = [_beside(judged, other) for judged in group.judged.values()]
            if any(beside) or (other == TWIN and not any(group.judged.values())):
                for measure in _MEASURES:
                    yield f"{group.label}: grown - {other}", _known(map(measure.of, beside)), measure
    for group in groups[1:]:
        first = groups[0]
        shared = [seed for seed in first.judged if seed in group.judged]
        for other in (TWIN, CONTROL):
            pairs = [(_beside(group.judged[seed], other), _beside(first.judged[seed], other)) for seed in shared]
            if other == CONTROL and not any(one and two for one, two in pairs):
                continue
            for measure in _MEASURES:
                both = [(measure.of(one), measure.of(two)) for one, two in pairs]
                found = _known(None if None in pair else pair[0] - pair[1] for pair in both)  # type: ignore[operator]
                title = f"{group.label} - {first.label}"
                yield f"{title}, over the control" if other == CONTROL else title, found, measure


def _beside(judged: RunVerdict | None, other: str) -> RunVerdict | None:
    """What a verdict says of the comparison with the twin, or with the control; None if it says nothing of it."""
    if judged is None or judged.against == other:
        return judged
    beside = judged.at_equal_epochs
    return beside if beside is not None and beside.against == other else None


def _known(values: Any) -> list[float]:
    return [value for value in values if value is not None and isfinite(value)]


def _result(values: list[float]) -> tuple[PairedResult, bool]:
    try:
        return paired_result(values), True
    except EsperError:
        return PairedResult(pairs=len(values), mean=fmean(values), low=None, high=None, p=None), False


def _row(title: str, measure: _Measure, found: PairedResult) -> tuple[Cell | str, ...]:
    style = ("good" if found.mean > 0 else "bad") if found.clear else ""
    known = found.low is not None and found.high is not None
    interval = f"{measure.write(found.low)} to {measure.write(found.high)}" if known else MISSING  # type: ignore[arg-type]
    p = MISSING if found.p is None or found.pairs < 2 else loss(found.p)
    return title, measure.title, str(found.pairs), Cell(measure.write(found.mean), style), interval, p


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("task.name", "policy.name")
    differing = [key for key in dict.fromkeys(key for it in settings for key in it) if _differs(settings, key)]
    chosen = [key for key in names if key in differing]
    if not chosen or len({tuple(str(it.get(key)) for key in chosen) for it in settings}) < len(settings):
        chosen += [key for key in differing if key not in chosen]
    labels = [_label(it, chosen) for it in settings]
    return [label if labels.count(label) == 1 else f"{label} ({i + 1})" for i, label in enumerate(labels)]


def _differs(settings: Sequence[Mapping[str, Any]], key: str) -> bool:
    return len({json.dumps(it.get(key), default=str) for it in settings}) > 1


def _label(settings: Mapping[str, Any], chosen: Sequence[str]) -> str:
    if not chosen:
        return " ".join(str(settings[key]) for key in ("task.name", "policy.name") if settings.get(key)) or "all runs"
    shown = [
        str(settings.get(key)) if key in ("task.name", "policy.name") else f"{key} = {settings.get(key, MISSING)}"
        for key in chosen[:_MOST_SETTINGS]
    ]
    return ", ".join(shown) + (", …" if len(chosen) > _MOST_SETTINGS else "")
