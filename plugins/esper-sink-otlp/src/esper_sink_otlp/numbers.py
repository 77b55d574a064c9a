"""A run's numbers as metrics of OpenTelemetry: gauges that keep the time of their event."""

import re
from collections.abc import Iterable, Iterator, Mapping

from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from esper_runs.metrics import METRICS, Point
from esper_runs.metrics import Metric as EsperMetric
from esper_sink_otlp.attributes import Attribute, text

#: Units by the Unified Code for Units of Measure; in braces what is counted.
_UNITS = {"": "1", "share": "1", "nats": "{nat}", "s": "s", "FLOP": "{FLOP}"}


#: Numbers that have a second name. It follows a proposal for reinforcement learning, in which a host is an environment
#: and a round an episode (open-telemetry/semantic-conventions-genai, issue 88), and may change.
RL_NAMES: Mapping[str, str] = {
    "reward/total": "rl.reward.total",
    "rounds/return": "rl.environment.reward.mean",
    "rounds/figures/{figure}": "rl.train.{figure}",
}


def rl_name(point: Point) -> str | None:
    """Return the second, experimental name of a number, under ``rl.``; None if it has none."""
    name = RL_NAMES.get(point.metric.name)
    if name is None or "{figure}" not in name:
        return name
    figure = re.sub("[^a-z0-9]+", "_", point.labels["figure"].lower()).strip("_")
    return name.format(figure=figure) if figure else None


def metric_name(metric: EsperMetric) -> str:
    """Return what a metric of `esper_runs.metrics` is called here: with dots, and without its labels."""
    return ".".join(["esper", *(part for part in metric.name.split("/") if not part.startswith("{"))])


def metric_unit(metric: EsperMetric) -> str:
    """Return the unit."""
    return _UNITS.get(metric.unit, f"{{{metric.unit}}}")


def metrics_data(
    points: Iterable[tuple[int, Point]], resource: Resource, scope: InstrumentationScope, started: int
) -> MetricsData:
    """Return numbers as the exporter takes them.

    Args:
        points: each with the time of its event, in nanoseconds since 1970.
        resource: the run.
        scope: what measured.
        started: when the run began or went on.
    """
    by_name: dict[str, tuple[EsperMetric, list[NumberDataPoint]]] = {}
    for moment, point in points:
        labels: dict[str, Attribute] = {f"esper.{label}": text(value) for label, value in point.labels.items()}
        labels |= {"esper.host": text(point.host), "esper.epoch": point.step, "esper.round": point.round}
        found = NumberDataPoint(labels, started, moment, point.value)
        for name in filter(None, (metric_name(point.metric), rl_name(point))):
            by_name.setdefault(name, (point.metric, []))[1].append(found)
    scoped = ScopeMetrics(scope, [*_metrics(by_name)], "")
    return MetricsData([ResourceMetrics(resource, [scoped], "")])


def _metrics(by_name: Mapping[str, tuple[EsperMetric, list[NumberDataPoint]]]) -> Iterator[Metric]:
    for name, (metric, points) in by_name.items():
        yield Metric(name, metric.meaning, metric_unit(metric), Gauge(points))


def markdown_table() -> str:
    """Return the table of all metrics in Markdown."""
    rows = (f"| `{metric_name(it)}` | `{metric_unit(it)}` | {it.meaning} |" for it in METRICS.values())
    return "\n".join(["| metric | unit | meaning |", "|---|---|---|", *rows])
