"""The values of one run or several as a collector of prometheus-client.

The client's own metrics cannot forget the series of a seed that is gone, show all of an epoch at once, or refuse a
series; so the values are kept elsewhere, and the client writes them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from esper_alerts.catalogue import CATALOGUE, Exported, MetricType
from esper_alerts.series import Counts, Series, cumulative_counts


@frozen(eq=False)
class SeriesCollector(Collector):
    """Shows the values of runs' metrics.

    Attributes:
        series: returns where they are, for each run; no two have one name.
    """

    series: Callable[[], Sequence[Series]]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have a value; those of each run as they stood at one moment."""
        families = {metric.name: _family(metric, {}, {}) for metric in CATALOGUE.values()}
        for series in self.series():
            with series.lock:
                for metric in CATALOGUE.values():
                    found = _family(metric, series.values_of(metric), series.counts_of(metric))
                    families[metric.name].samples += found.samples
        yield from (family for family in families.values() if family.samples)

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without values: what is registered."""
        yield from (_family(metric, {}, {}) for metric in CATALOGUE.values())


def _family(
    metric: Exported, values: Mapping[tuple[str, ...], float], counts: Mapping[tuple[str, ...], Counts]
) -> Metric:
    if metric.type is MetricType.HISTOGRAM:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for key, it in counts.items():
            family.add_metric(key, cumulative_counts(metric.buckets, it.buckets), it.sum)
        return family
    kind = CounterMetricFamily if metric.type is MetricType.COUNTER else GaugeMetricFamily
    simple: Any = kind(metric.name, metric.meaning, labels=metric.labels)
    for key, value in values.items():
        simple.add_metric(key, value)
    assert isinstance(simple, Metric)
    return simple
