"""Alerts, objectives and the dashboard: what they name is there, and each alert fires and clears."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from esper_alerts.alerts import ALERTS
from esper_alerts.catalogue import CATALOGUE, MetricType, markdown_table
from esper_alerts.objectives import OBJECTIVES, Objective, objective_alerts, objective_recordings
from esper_sink_prometheus.dashboard import dashboard, dashboard_file
from esper_sink_prometheus.rules import RECORDINGS, rules_file

#: Values of a series minute by minute; None where there is none.
Minutes = Sequence[float | None]

README = Path(__file__).parents[1] / "README.md"

#: What is named `esper…` in a text that is no metric's name: the job, the sink's options, and Esper's commands.
_NAME = re.compile(r"\besper(?:_|:)[a-z0-9_:]+")


def expressions() -> Iterator[str]:
    yield from (it.expression for it in (*RECORDINGS, *objective_recordings(), *ALERTS, *objective_alerts()))
    yield from panel_queries()


def panel_queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def base(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name) if name not in CATALOGUE else name


def test_every_metric_that_is_named_is_in_the_catalogue_or_recorded() -> None:
    recorded = {it.name for it in (*RECORDINGS, *objective_recordings())}
    named = {name for text in expressions() for name in _NAME.findall(text)}
    assert named
    assert {name for name in named if base(name) not in CATALOGUE} <= recorded
    assert {name for name in named if name.startswith("esper:")} <= recorded


def test_every_label_that_is_matched_is_one_of_its_metric() -> None:
    for text in expressions():
        for name, matchers in re.findall(r"\b(esper_[a-z_]+)\{([^}]*)\}", text):
            labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
            assert labels <= {*CATALOGUE[base(name)].labels, "le"}, text


def test_only_counters_and_histograms_are_counted_up() -> None:
    for text in expressions():
        for name in re.findall(r"(?:rate|increase)\((esper_[a-z_]+)", text):
            assert CATALOGUE[base(name)].type is not MetricType.GAUGE, text


def test_there_are_alerts_and_objectives_of_every_kind() -> None:
    names = [it.name for it in (*ALERTS, *objective_alerts())]
    assert len(set(names)) == len(names)
    assert len(ALERTS) >= 10
    assert len(OBJECTIVES) >= 5
    assert {it.severity for it in ALERTS} == {"page", "ticket", "info"}


def test_an_objective_whose_alert_could_never_fire_is_refused() -> None:
    for target in (0.9, 1.0):
        with pytest.raises(ValueError, match="never fire"):
            Objective(name="x", target=target, bad="", total="", meaning="")


def test_the_readme_has_the_table_of_metrics() -> None:
    assert markdown_table() in README.read_text(), "write the output of `esper prometheus metrics` into it"


def test_the_dashboard_is_json_with_a_panel_for_each_place() -> None:
    read: Any = json.loads(dashboard_file())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in read["panels"]]
    assert len(set(places)) == len(places) >= 12


@pytest.mark.slow
def test_prometheus_accepts_the_rules_and_every_query_of_the_dashboard(promtool: Any, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_file())
    promtool.judge("check", "rules", "rules.yml")
    queries = [query.replace("$run", ".*") for query in panel_queries()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool.judge("check", "rules", "panels.yml")


_R, _H = '{run="r"}', '{run="r", host="grown"}'


def grown(name: str, **labels: str) -> str:
    pairs = {"run": "r", "host": "grown"} | labels
    return f"{name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in pairs.items())}}}"


def steps(*parts: tuple[float | None, int]) -> Minutes:
    return [value for value, times in parts for _ in range(times)]


def climb(bad: int, good: int, at: int = 5) -> Minutes:
    """A counter that stands still, goes up by one a minute, and stands still again."""
    return [*steps((0.0, at)), *map(float, range(1, bad + 1)), *steps((float(bad), good))]


_LINE = [60.0 * minute for minute in range(60)]

#: Of each alert the series, a minute in which it fires, and a later one in which it does not.
CASES: dict[str, tuple[dict[str, Minutes], int, int]] = {
    "EsperEvidenceMissing": (
        {
            f"esper_seeds_contributing{_H}": steps((2.0, 40)),
            f"esper_seeds_measured{_H}": steps((2.0, 5), (1.0, 10), (2.0, 25)),
        },
        11,
        16,
    ),
    "EsperEpochSlow": ({f"esper_epochs_slow_total{_H}": climb(6, 20)}, 10, 20),
    "EsperPluginFailing": ({'esper_plugin_failures_total{run="r", place="observer"}': climb(1, 20)}, 6, 20),
    "EsperMeasuringCostly": (
        {
            f"esper_compute_training_flops_total{_H}": _LINE,
            f"esper_compute_counterfactuals_flops_total{_H}": [
                *(120.0 * minute for minute in range(30)),
                *steps((3480.0, 30)),
            ],
        },
        20,
        50,
    ),
    "EsperIsolationViolated": ({f"esper_isolation_violations_total{_H}": climb(1, 20)}, 6, 20),
    "EsperEventsLate": (
        {
            f'esper_event_lag_seconds_bucket{{run="r", le="{le}"}}': values
            for le, values in {
                "5.0": [*range(10), *steps((9.0, 10)), *(9.0 + 10 * m for m in range(1, 21))],
                "10.0": [*range(20), *(19.0 + 10 * m for m in range(1, 21))],
                "+Inf": [*range(20), *(19.0 + 10 * m for m in range(1, 21))],
            }.items()
        },
        16,
        30,
    ),
    "EsperSeedUnsafe": ({grown("esper_seeds_culled_total", cause="safety"): climb(1, 20)}, 6, 20),
    "EsperGovernorStopped": ({f"esper_governor_mode{_H}": steps((0.0, 5), (2.0, 5), (0.0, 5))}, 6, 12),
    "EsperGovernorConservative": ({f"esper_governor_mode{_H}": steps((0.0, 5), (1.0, 5), (0.0, 5))}, 7, 12),
    "EsperBlueprintAtRisk": (
        {
            grown("esper_seeds_finished_total", blueprint="noop", stage="CULLED"): steps((4.0, 5), (5.0, 20)),
            grown("esper_seeds_finished_total", blueprint="noop", stage="FOSSILIZED"): steps((0.0, 10), (2.0, 15)),
        },
        6,
        12,
    ),
    "EsperLossNotFinite": ({grown("esper_losses_total", finite="no"): climb(2, 20)}, 7, 20),
    "EsperRunStalled": (
        {
            f"esper_last_event_timestamp_seconds{_R}": [
                *_LINE[:5],
                *steps((240.0, 36)),
                *(60.0 * m for m in range(41, 60)),
            ],
            f"esper_run_active{_R}": steps((1.0, 60)),
        },
        36,
        45,
    ),
    "EsperRunFailed": ({'esper_run_outcome{run="r", outcome="stopped"}': steps((None, 5), (1.0, 5), (0.0, 5))}, 6, 12),
    "EsperActionsDenied": (
        {
            f"esper_actions_denied_total{_H}": climb(10, 30),
            grown("esper_actions_total", op="GERMINATE"): [float(minute) for minute in range(45)],
        },
        14,
        40,
    ),
    "EsperSeedAtItsBound": (
        {grown("esper_slots_bounded_ratio", slot="block0"): steps((0.0, 5), (0.05, 10), (0.0, 10))},
        11,
        16,
    ),
    "EsperExportFailing": ({'esper_exports_failed_total{run="r", destination="textfile"}': climb(1, 20)}, 6, 20),
    "EsperSeriesRefused": ({f"esper_series_refused_total{_R}": climb(1, 30)}, 6, 30),
}


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == {it.name for it in ALERTS}


@pytest.mark.slow
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_clears(promtool: Any, alert: str) -> None:
    series, fires, clear = CASES[alert]
    promtool.check_alert(alert, series, {4: False, fires: True, clear: False})


_OBJECTIVE_SERIES = {
    "epochs-steady": (grown("esper_epochs_slow_total"), grown("esper_epochs_total")),
    "losses-finite": (grown("esper_losses_total", finite="no"), grown("esper_losses_total", finite="yes")),
    "events-fresh": ('esper_event_lag_seconds_bucket{run="r", le="5.0"}', 'esper_event_lag_seconds_count{run="r"}'),
    "decisions-allowed": (grown("esper_actions_denied_total"), grown("esper_actions_total", op="CULL")),
    "growth-harmless": (grown("esper_epochs_behind_total"), grown("esper_epochs_compared_total")),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda it: it.name)
def test_an_error_budget_that_is_used_up_fast_is_an_alert(promtool: Any, objective: Objective) -> None:
    """Nothing but errors for an hour, then none."""
    bad, total = _OBJECTIVE_SERIES[objective.name]
    everything = [float(minute) for minute in range(180)]
    errors: Minutes = [*(0.0,) * 60, *map(float, range(1, 61)), *(60.0,) * 60]
    if objective.name == "events-fresh":  # this counts what is good
        errors = [*map(float, range(60)), *(59.0,) * 60, *map(float, range(60, 120))]
    name = f"EsperSlo{''.join(part.title() for part in objective.name.split('-'))}Fast"
    promtool.check_alert(name, {bad: errors, total: everything}, {50: False, 115: True, 150: False})
