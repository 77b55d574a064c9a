"""The engine and Prometheus say the same of the same series: for each alert, at each time of evaluation."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from random import Random
from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from esper_alerts.alerts import ALERTS
from esper_alerts.catalogue import CATALOGUE, Exported, MetricType
from esper_alerts.engine import AlertEngine, AlertState
from esper_alerts.objectives import objective_alerts
from esper_alerts.series import Sample
from esper_sink_prometheus.rules import rules_file

#: Values minute by minute; None: a scrape does not see it.
Minutes = list[float | None]
Labels = tuple[tuple[str, str], ...]
Found = dict[tuple[str, Labels], Minutes]

_LABELS: Mapping[str, tuple[str, ...]] = {
    "host": ("grown", "twin"),
    "finite": ("yes", "no"),
    "cause": ("safety", "gate"),
    "blueprint": ("noop", "mlp"),
    "stage": ("CULLED", "FOSSILIZED"),
    "outcome": ("completed", "stopped"),
    "place": ("sink", "observer"),
    "destination": ("textfile",),
    "slot": ("a", "b"),
    "op": ("WAIT", "GERMINATE"),
}
_GAUGES: Mapping[str, tuple[float, ...]] = {
    "esper_slots_bounded_ratio": (0.0, 0.005, 0.02, 0.5),
    "esper_run_active": (1.0, 1.0, 1.0, 0.0),
    "esper_run_outcome": (1.0, 0.0),
}
_ANY = (0.0, 1.0, 2.0, 3.0)


CASES, MINUTES = 24, 75

ALL = (*ALERTS, *objective_alerts())


@frozen
class Case:
    """Series, and how many minutes lie between two scrapes; alerts are evaluated in each minute."""

    series: Found
    every: int


def cases_of(seeds: list[int], minutes: int) -> list[Case]:
    names = AlertEngine().names
    return [random_case(Random(seed), f"run{number}", names, minutes) for number, seed in enumerate(seeds)]


def said_by_the_engine(case: Case, minutes: int) -> list[list[dict[str, str]]]:
    """What ALERTS holds in each minute."""
    engine, said = AlertEngine(), []
    for minute in range(minutes):
        if minute % case.every == 0:
            engine.scrape(scrapes(case, minute), 60.0 * minute)
        engine.evaluate(60.0 * minute)
        said.append(
            [
                {**labels, "alertname": alert.name, "severity": alert.severity, "alertstate": str(state)}
                for alert, labels, state in engine.active()
            ]
        )
    return said


def asked_of_promtool(cases: list[Case], said: list[list[list[dict[str, str]]]]) -> dict[str, Any]:
    """All cases in one: each is a run, and no alert looks at several."""
    inputs = [
        {"series": f"{name}{_text(dict(labels))}", "values": " ".join(_texts(values, case.every))}
        for case in cases
        for (name, labels), values in case.series.items()
    ]
    expected = [
        {
            "expr": "ALERTS",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f"ALERTS{_text(it)}", "value": 1} for found in row for it in found],
        }
        for minute, row in enumerate(zip(*said, strict=True))
    ]
    return {"interval": "1m", "input_series": inputs, "promql_expr_test": expected}


def _text(labels: dict[str, str]) -> str:
    return f"{{{', '.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


def _texts(values: Minutes, every: int) -> Iterator[str]:
    """As Prometheus keeps what it scrapes: a series that is not seen any more gets a mark."""
    before: float | None = None
    for minute, value in enumerate(values):
        if minute % every:
            yield "_"
            continue
        yield repr(value) if value is not None else "_" if before is None else "stale"
        before = value


def compare(promtool: Any, seeds: list[int], minutes: int) -> Counter[str]:
    cases = cases_of(seeds, minutes)
    said = [said_by_the_engine(case, minutes) for case in cases]
    wrong = promtool.judge(rules_file(), [asked_of_promtool(cases, said)])
    assert not wrong, f"seeds {seeds}: {wrong[:6000]}"
    return Counter(it["alertname"] for found in said for row in found for it in row if it["alertstate"] == "firing")


#: Another list of seeds each time that there is an example; a failure names them.
SEEDS = st.lists(st.integers(0, 2**32), min_size=CASES, max_size=CASES, unique=True)


@pytest.mark.slow
@given(seeds=SEEDS)
@settings(max_examples=1, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
def test_the_engine_and_prometheus_agree(promtool: Any, seeds: list[int]) -> None:
    fired = compare(promtool, seeds, MINUTES)
    assert set(fired) == {it.name for it in ALL}, "the series do not raise every alert"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@given(seeds=SEEDS)
@settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
def test_the_engine_and_prometheus_agree_in_many_long_series(promtool: Any, seeds: list[int]) -> None:
    compare(promtool, seeds, 4 * MINUTES)


@pytest.mark.slow
def test_a_wrong_answer_is_noticed(promtool: Any) -> None:
    """The comparison can fail: an engine that forgets an alert in one minute is found out."""
    (case,) = cases_of([1], MINUTES)
    said = said_by_the_engine(case, MINUTES)
    minute = next(minute for minute, row in enumerate(said) if any(it["alertstate"] == AlertState.FIRING for it in row))
    said[minute] = said[minute][1:]
    assert promtool.judge(rules_file(), [asked_of_promtool([case], [said])])


def random_case(random: Random, run: str, names: set[str], minutes: int) -> Case:
    """Return series of some of the metrics."""
    case: Found = {}
    for metric in CATALOGUE.values():
        found = sorted(names & {metric.name, f"{metric.name}_bucket", f"{metric.name}_count"})
        if not found or random.random() < 0.15:
            continue
        for labels in _combinations(metric, run):
            if random.random() < 0.15:
                continue
            if metric.type is MetricType.HISTOGRAM:
                case.update(_histogram(random, metric, labels, minutes))
            elif metric.type is MetricType.COUNTER:
                case[metric.name, labels] = _broken(random, _climb(random, minutes))
            elif metric.name == "esper_last_event_timestamp_seconds":
                case[metric.name, labels] = _broken(random, _moments(random, minutes))
            else:
                case[metric.name, labels] = _broken(random, _jumps(random, _GAUGES.get(metric.name, _ANY), minutes))
    return Case(case, random.choice((1, 1, 1, 2, 3, 7)))


def scrapes(case: Case, minute: int) -> Iterator[Sample]:
    """Yield what a scrape sees in a minute."""
    for (name, labels), values in case.series.items():
        if (value := values[minute]) is not None:
            yield Sample(name, labels, value)


def _combinations(metric: Exported, run: str) -> Iterator[Labels]:
    for values in product((run,), *(_LABELS[label] for label in metric.labels[1:])):
        yield tuple(zip(metric.labels, values, strict=True))


def _climb(random: Random, minutes: int) -> list[float]:
    """A counter that grows at a pace that changes, and begins again now and then.

    Its unit is nearly one: among whole numbers a share of errors can be exactly as high as its bound, and whether 0.3
    is more than 0.3 then depends on the order in which Prometheus adds up series.
    """
    values, value, pace, unit = [], float(random.choice((0, 0, 3))), 0.0, 1.0 + random.random() / 1000.0
    for _ in range(minutes):
        if random.random() < 0.08:
            pace = random.choice((0.0, 0.2, 1.0, 4.0))
        if random.random() < 0.02:
            value = 0.0
        value += float(int(pace + random.random()))
        values.append(value * unit)
    return values


def _jumps(random: Random, pool: tuple[float, ...], minutes: int) -> list[float]:
    values, value = [], random.choice(pool)
    for _ in range(minutes):
        if random.random() < 0.1:
            value = random.choice(pool)
        values.append(value)
    return values


def _moments(random: Random, minutes: int) -> list[float]:
    """When something happened last: nearly now, but for times in which nothing does."""
    values, value, still = [], 0.0, 0
    for minute in range(minutes):
        if still == 0 and random.random() < 0.03:
            still = random.choice((5, 40))
        still = max(0, still - 1)
        value = value if still else 60.0 * minute
        values.append(value)
    return values


def _histogram(
    random: Random, metric: Exported, labels: Labels, minutes: int
) -> Iterator[tuple[tuple[str, Labels], Minutes]]:
    counts = [0.0] * (len(metric.buckets) + 1)
    usual, rows = 0, []
    for _ in range(minutes):
        if random.random() < 0.1:
            usual = random.choice((0, 1, 4, 5, len(counts) - 1))
        for _ in range(random.choice((0, 1, 5))):
            counts[usual if random.random() < 0.9 else random.randrange(len(counts))] += 1
        rows.append(tuple(sum(counts[: place + 1]) for place in range(len(counts))))
    gone = _broken(random, [0.0] * minutes)
    columns = [_where(gone, [row[place] for row in rows]) for place in range(len(counts))]
    for bound, column in zip((*map(str, metric.buckets), "+Inf"), columns, strict=True):
        yield (f"{metric.name}_bucket", (*labels, ("le", bound))), column
    yield (f"{metric.name}_count", labels), columns[-1]


def _where(gone: Minutes, values: list[float]) -> Minutes:
    return [None if other is None else value for other, value in zip(gone, values, strict=True)]


def _broken(random: Random, values: list[float]) -> Minutes:
    """Series begin late, or are gone for some minutes."""
    found: Minutes = [*values]
    if random.random() < 0.3:
        late = random.randrange(10)
        found[:late] = [None] * late
    for _ in range(random.choice((0, 0, 1, 2))):
        begin, length = random.randrange(len(values)), random.randrange(1, 12)
        for minute in range(begin, min(begin + length, len(values))):
            found[minute] = None
    return found
