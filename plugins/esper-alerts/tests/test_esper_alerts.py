"""The expressions of alerts, what they come to, and how alerts come and go."""

from collections.abc import Mapping
from math import inf, isnan
from typing import Any

import pytest
from attrs import evolve

from esper_alerts.alerts import ALERTS, Alert
from esper_alerts.engine import AlertEngine, AlertState
from esper_alerts.evaluation import MatchingError, evaluate
from esper_alerts.expressions import selectors
from esper_alerts.live_alerts import LiveAlerts
from esper_alerts.objectives import objective_alerts, objective_recordings
from esper_alerts.promql import UnsupportedExpression, parse, seconds
from esper_alerts.recordings import RECORDINGS
from esper_alerts.series import Sample
from esper_alerts.storage import Labels, Storage
from esper_core.api import Event, EventKind

MINUTE = 60_000


def stored(*series: tuple[str, Mapping[str, str], list[float | None]]) -> Storage:
    """Series with a value in each minute."""
    storage = Storage({name: 60 * MINUTE for name, _, _ in series})
    for name, labels, values in series:
        for minute, value in enumerate(values):
            if value is not None:
                storage.add(name, _labels(labels), minute * MINUTE, value)
    return storage


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def result(text: str, storage: Storage, minute: float) -> Any:
    """What an expression comes to: a number, or values by the values of labels."""
    found = evaluate(parse(text), storage, round(minute * MINUTE))
    return found if isinstance(found, float) else {tuple(v for _, v in it): value for it, value in found.items()}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rate(a[5m]) > bool 0", "bool"),
        ("a * on (run) b", "on"),
        ("a * ignoring (le) group_left b", "group_left"),
        ("sum without (run) (a)", "without"),
        ("avg(a)", "avg"),
        ("max_over_time(a[5m])", "max_over_time"),
        ("irate(a[5m])", "irate"),
        ("absent(a)", "absent"),
        ("label_replace(a)", "label_replace"),
        ("rate(sum(a)[5m:1m])", "["),
        ("a @ 5", "@"),
        ("a ^ 2", "^"),
        ("a % 2", "%"),
        ("-a", "-"),
        ("a > 1 > 0 0", "0"),
        ("a[5m]", "expression"),
        ("a[5m] > 0", ">"),
        ("sum(a[5m])", "sum"),
        ("(a[5m])", "("),
        ("rate(a)", "rate"),
        ("rate(5)", "rate"),
        ("rate(a[5m], 3)", "rate"),
        ("histogram_quantile(a, b)", "histogram_quantile"),
        ("sum(1)", "sum"),
        ("1 and a", "and"),
        ("1 > 0", ">"),
        ("1 * ignoring (le) a", "ignoring"),
        ('{run="a"}', "{"),
        ('a{run="\\n"}', "\\n"),
        ("a{run==1}", "=="),
        ("a offset -5m", "-"),
        ("a[5q]", "5q]"),
        ("a > 0 unless", "the end"),
        ("sum by (run (a)", "("),
        ("a $ b", "$"),
    ],
)
def test_what_is_not_evaluated_here_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UnsupportedExpression) as caught:
        parse(text)
    assert f'"{named}"' in str(caught.value)
    assert text in str(caught.value)


def test_an_engine_refuses_an_alert_that_it_cannot_evaluate() -> None:
    alert = evolve(ALERTS[0], expression="stddev(esper_reward) > 1")
    with pytest.raises(UnsupportedExpression, match="stddev"):
        AlertEngine([alert], [])
    with pytest.raises(UnsupportedExpression, match="soon"):
        AlertEngine([evolve(ALERTS[0], lasting="soon")], [])


def test_every_expression_that_is_written_is_understood() -> None:
    """And nothing that it looks at is missing among what the engine keeps."""
    engine = AlertEngine()
    recorded = {it.name for it in (*RECORDINGS, *objective_recordings())}
    for it in (*ALERTS, *objective_alerts()):
        for selector in selectors(parse(it.expression)):
            assert selector.name in engine.names | recorded


def test_durations() -> None:
    assert [seconds(it) for it in ("0s", "5m", "1h30m", "3d", "100ms")] == [0, 300, 5400, 259200, 0.1]


def test_operators_bind_as_in_promql() -> None:
    storage = stored(("a", {"run": "x"}, [2.0]), ("b", {"run": "x"}, [3.0]))
    assert result("a + b * 2", storage, 0) == {("x",): 8.0}
    assert result("(a + b) * 2", storage, 0) == {("x",): 10.0}
    assert result("a - b - 1", storage, 0) == {("x",): -2.0}
    assert result("a > 1 and b > 5 or b", storage, 0) == {("x",): 3.0}
    assert result("b >= 3 >= 2", storage, 0) == {("x",): 3.0}
    assert result("2 < b", storage, 0) == {("x",): 3.0}
    assert result("time() - a", storage, 1) == {("x",): 58.0}
    assert result("1 + 2 * 3", storage, 0) == 7.0


def test_numbers_divide_as_floating_point_does() -> None:
    storage = stored(("a", {"run": "x"}, [1.0]), ("b", {"run": "x"}, [0.0]), ("c", {"run": "x"}, [-1.0]))
    assert result("a / b", storage, 0) == {("x",): inf}
    assert result("c / b", storage, 0) == {("x",): -inf}
    assert isnan(result("b / b", storage, 0)["x",])
    assert result("b / b > 0", storage, 0) == {}


def test_matchers() -> None:
    storage = stored(*(("a", {"run": it}, [1.0]) for it in ("one", "two", "three")))
    assert result('a{run="one"}', storage, 0).keys() == {("one",)}
    assert result('a{run!="one"}', storage, 0).keys() == {("two",), ("three",)}
    assert result('a{run=~"t.*"}', storage, 0).keys() == {("two",), ("three",)}
    assert result('a{run=~"t"}', storage, 0).keys() == set(), "anchored"
    assert result('a{run!~"two|three", missing=""}', storage, 0).keys() == {("one",)}


def test_a_sample_stands_for_five_minutes_and_a_series_that_has_ended_for_none() -> None:
    storage = stored(("a", {"run": "x"}, [1.0]), ("b", {"run": "x"}, [1.0]))
    storage.end("b", _labels({"run": "x"}), MINUTE)
    assert [bool(result("a", storage, minute)) for minute in (0, 5, 5.01)] == [True, True, False]
    assert [bool(result("b", storage, minute)) for minute in (0, 0.99, 1)] == [True, True, False]
    assert result("a offset 3m", storage, 8) == {("x",): 1.0}


def test_a_counter_that_begins_again_has_not_fallen() -> None:
    storage = stored(("a", {"run": "x"}, [0.0, 5.0, 10.0, 1.0, 2.0, 3.0]))
    assert result("increase(a[5m])", storage, 5) == {("x",): 13.0}
    assert result("rate(a[5m])", storage, 5) == {("x",): 13.0 / 300}


def test_one_sample_has_no_increase() -> None:
    assert result("increase(a[5m])", stored(("a", {"run": "x"}, [None, 3.0])), 2) == {}


def test_quantiles_lie_between_the_bounds_of_a_bucket() -> None:
    buckets = {"1.0": 10.0, "2.0": 30.0, "+Inf": 40.0}
    storage = stored(*(("a", {"le": le}, [count]) for le, count in buckets.items()))
    assert result("histogram_quantile(0.5, a)", storage, 0) == {(): 1.5}
    assert result("histogram_quantile(0.95, a)", storage, 0) == {(): 2.0}
    assert result("histogram_quantile(0.125, a)", storage, 0) == {(): 0.5}


@pytest.mark.parametrize("buckets", [{"+Inf": 1.0}, {"1.0": 1.0, "2.0": 1.0}, {"1.0": 0.0, "+Inf": 0.0}])
def test_a_histogram_without_counts_or_an_end_has_no_quantile(buckets: dict[str, float]) -> None:
    storage = stored(*(("a", {"le": le}, [count]) for le, count in buckets.items()))
    assert isnan(result("histogram_quantile(0.5, a)", storage, 0)[()])


def test_operands_that_cannot_be_matched_are_an_error() -> None:
    several = [("a", {"run": "x", "le": le}, [1.0]) for le in ("1", "2")]
    with pytest.raises(MatchingError, match="several"):
        result("b - ignoring (le) a", stored(("b", {"run": "x"}, [1.0]), *several), 0)


def test_an_alert_is_pending_before_it_fires_and_clears_at_once() -> None:
    alert = _alert("esper_governor_mode == 1", lasting="2m")
    engine, said = AlertEngine([alert], []), []
    for minute, mode in enumerate([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]):
        engine.scrape([Sample("esper_governor_mode", (("run", "x"), ("host", "")), mode)], 60.0 * minute)
        said += [(minute, it.state, it.since, it.value, dict(it.labels)) for it in engine.evaluate(60.0 * minute)]
    assert said == [(2, "firing", 0.0, 1.0, {"run": "x"}), (4, "resolved", 0.0, 1.0, {"run": "x"})]


def test_an_alert_that_is_restored_fires_without_being_told_again() -> None:
    engine = AlertEngine([_alert("esper_governor_mode == 1", lasting="2m")], [])
    engine.restore("Drill", {"run": "x"}, 1.0, 1.0)
    engine.restore("Gone", {"run": "x"}, 1.0, 1.0)
    assert [(it.name, state) for it, _, state in engine.active()] == [("Drill", AlertState.FIRING)]
    mode = Sample("esper_governor_mode", (("run", "x"),), 1.0)
    engine.scrape([mode], 60.0)
    assert engine.evaluate(60.0) == []
    engine.scrape([evolve(mode, value=0.0)], 120.0)
    assert [it.state for it in engine.evaluate(120.0)] == [AlertState.RESOLVED]


def test_a_series_that_a_scrape_does_not_see_has_ended() -> None:
    engine = AlertEngine([_alert("esper_governor_mode == 1")], [])
    engine.scrape([Sample("esper_governor_mode", (("run", "x"),), 1.0)], 0.0)
    assert [it.state for it in engine.evaluate(0.0)] == ["firing"]
    engine.scrape([], 10.0)
    assert [it.state for it in engine.evaluate(10.0)] == ["resolved"]


def _alert(expression: str, lasting: str = "0s") -> Alert:
    return evolve(ALERTS[0], name="Drill", expression=expression, lasting=lasting)


def test_labels_are_filled_in_and_what_is_missing_is_empty() -> None:
    alert = evolve(ALERTS[0], summary="{{ $labels.run }}/{{ $labels.host }}: {{ $value }}")
    assert alert.summary_of({"run": "{{ $labels.host }}"}) == "{{ $labels.host }}/: {{ $value }}"


def test_every_alert_says_when_and_what_to_do() -> None:
    for it in (*ALERTS, *objective_alerts()):
        assert it.when
        assert it.advice
        assert "{{" not in it.summary_of({"run": "x"})


def test_samples_that_nobody_looks_at_any_more_are_thrown_away() -> None:
    storage = Storage({"a": 10 * MINUTE})
    for second in range(20_000):
        storage.add("a", (), second * 1000, 1.0)
    ((_, _, window),) = storage.between("a", 0, 20_000_000)
    assert window.count < 2000


def test_a_sleep_of_the_machine_is_not_evaluated_moment_by_moment() -> None:
    """A week at ten seconds would be 60,000 evaluations; and what was seen before is old then."""
    live = LiveAlerts({"name": "x"}, 10.0, 0.0, lambda: 0.0)
    event = Event(kind=EventKind.GOVERNOR_INTERVENED, host="grown", data={"mode": "stopped"}, time=5.0)
    assert live.take([event]) == []
    assert [it.alert.name for it in live.until(15.0)] == ["EsperGovernorStopped"]
    changes = live.until(604800.0)
    assert min(it.time for it in changes) >= 604800.0 - 10_000.0
