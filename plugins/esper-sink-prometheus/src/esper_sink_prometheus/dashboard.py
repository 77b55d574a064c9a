"""A dashboard of Grafana, made from the metrics' names."""

import json
from typing import Any

from attrs import frozen

#: Grafana replaces it by the run that is chosen.
RUN = 'run=~"$run"'


@frozen(kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: above it.
        queries: PromQL with the pattern of the legend.
        unit: Grafana's name of the unit.
        kind: Grafana's name of the panel.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"


_HOST = "{{run}} {{host}}"
_SLOT = "{{run}} {{host}} {{slot}}"

PANELS = (
    Panel(title="Runs", queries=((f"sum(esper_run_active{{{RUN}}})", "active"),), kind="stat"),
    Panel(title="Alerts", queries=(('sum(ALERTS{alertname=~"Esper.*", alertstate="firing"})', "firing"),), kind="stat"),
    Panel(
        title="Validation accuracy",
        queries=((f"esper_validation_accuracy_ratio{{{RUN}}}", _HOST),),
        unit="percentunit",
    ),
    Panel(
        title="Loss",
        queries=(
            (f"esper_validation_loss_nats{{{RUN}}}", f"{_HOST} validation"),
            (f"esper_train_loss_nats{{{RUN}}}", f"{_HOST} training"),
        ),
    ),
    Panel(title="Gain over the twin, nats", queries=((f"esper_gain_nats{{{RUN}}}", _HOST),)),
    Panel(title="Parameters", queries=((f"esper_parameters{{{RUN}}}", _HOST),)),
    Panel(title="Seeds by stage", queries=((f"esper_stage_seeds{{{RUN}}}", "{{run}} {{host}} {{stage}}"),)),
    Panel(title="Alpha", queries=((f"esper_slots_alpha{{{RUN}}}", _SLOT),), unit="percentunit"),
    Panel(
        title="Contribution with its error, nats",
        queries=(
            (f"esper_slots_contribution_nats{{{RUN}}}", _SLOT),
            (f"esper_slots_contribution_error_nats{{{RUN}}}", f"{_SLOT} error"),
        ),
    ),
    Panel(
        title="Verdicts of gates",
        queries=(
            (
                f"sum by (gate, passed) (rate(esper_gate_verdicts_total{{{RUN}}}[15m]))",
                "{{gate}} passed: {{passed}}",
            ),
        ),
    ),
    Panel(title="Reward", queries=((f"esper_reward{{{RUN}}}", _HOST),)),
    Panel(
        title="Decisions",
        queries=(
            (f"sum by (op) (rate(esper_actions_total{{{RUN}}}[15m]))", "{{op}}"),
            (f"sum(rate(esper_actions_denied_total{{{RUN}}}[15m]))", "denied"),
        ),
    ),
    Panel(title="Governor", queries=((f"esper_governor_mode{{{RUN}}}", _HOST),)),
    Panel(
        title="Time of an epoch's training",
        queries=((f"esper:epoch_train_seconds:p50_15m{{{RUN}}}", f"{_HOST} median"),),
        unit="s",
    ),
    Panel(
        title="Computation, FLOP/s",
        queries=(
            (f"rate(esper_compute_training_flops_total{{{RUN}}}[15m])", f"{_HOST} training"),
            (f"rate(esper_compute_counterfactuals_flops_total{{{RUN}}}[15m])", f"{_HOST} counterfactuals"),
        ),
    ),
    Panel(title="Lag of events, 95 %", queries=((f"esper:event_lag_seconds:p95_5m{{{RUN}}}", "{{run}}"),), unit="s"),
    Panel(
        title="Error budgets: share of errors in 1 h",
        queries=((f"esper:slo_errors:ratio_rate1h{{{RUN}}}", "{{run}} {{slo}}"),),
        unit="percentunit",
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's model; the source of data is chosen when it is imported."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "uid": "esper-runs",
        "title": "Esper",
        "schemaVersion": 39,
        "tags": ["esper"],
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "run",
                    "type": "query",
                    "datasource": source,
                    "query": {"query": "label_values(esper_run_info, run)", "refId": "run"},
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [_panel(number, it, source) for number, it in enumerate(PANELS)],
    }


def dashboard_file() -> str:
    """Return the dashboard as JSON."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _panel(number: int, it: Panel, source: dict[str, str]) -> dict[str, Any]:
    targets = [
        {"expr": query, "legendFormat": legend, "refId": chr(ord("A") + place), "datasource": source}
        for place, (query, legend) in enumerate(it.queries)
    ]
    return {
        "id": number + 1,
        "type": it.kind,
        "title": it.title,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": it.unit}, "overrides": []},
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
    }
