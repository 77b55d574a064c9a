"""A run's numbers as metrics of OpenTelemetry: gauges that keep the time of their event."""

from collections.abc import Iterable, Iterator

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
    by_name: dict[str, list[NumberDataPoint]] = {}
    for moment, point in points:
        labels: dict[str, Attribute] = {f"esper.{label}": text(value) for label, value in point.labels.items()}
        labels |= {"esper.host": text(point.host), "esper.epoch": point.step, "esper.round": point.round}
        found = NumberDataPoint(labels, started, moment, point.value)
        by_name.setdefault(point.metric.name, []).append(found)
    scoped = ScopeMetrics(scope, [*_metrics(by_name)], "")
    return MetricsData([ResourceMetrics(resource, [scoped], "")])


def _metrics(by_name: dict[str, list[NumberDataPoint]]) -> Iterator[Metric]:
    for name, points in by_name.items():
        metric = METRICS[name]
        yield Metric(metric_name(metric), metric.meaning, metric_unit(metric), Gauge(points))


def markdown_table() -> str:
    """Return the table of all metrics in Markdown."""
    rows = (f"| `{metric_name(it)}` | `{metric_unit(it)}` | {it.meaning} |" for it in METRICS.values())
    return "\n".join(["| metric | unit | meaning |", "|---|---|---|", *rows])
