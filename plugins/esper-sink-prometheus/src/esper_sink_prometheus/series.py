"""The present values of all metrics, bounded in number, as a collector of prometheus-client.

The client's own metrics cannot forget the series of a seed that is gone, show all of an epoch at once, or refuse a
series; so the values are kept here, and the client writes them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import RLock
from typing import Any

from attrs import define, field
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from esper_runs.names import safe_name
from esper_sink_prometheus.catalogue import CATALOGUE, Exported, MetricType

_REFUSED = "esper_series_refused_total"


@define
class _Counts:
    buckets: list[int]
    sum: float = 0.0


Values = dict[tuple[str, ...], float]


@define(eq=False)
class Series(Collector):
    """The values of every metric of a run by the values of its labels.

    Attributes:
        run: the run's name.
        most: series of each metric at most.
        lock: held while several values are changed, so that they are seen together.
    """

    run: str
    most: int
    lock: Any = field(factory=RLock, init=False)
    _values: dict[str, Values] = field(init=False, factory=lambda: {name: {} for name in CATALOGUE})
    _counts: dict[str, dict[tuple[str, ...], _Counts]] = field(init=False, factory=lambda: {n: {} for n in CATALOGUE})

    def __attrs_post_init__(self) -> None:
        self._values[_REFUSED][(self._safe(self.run),)] = 0.0

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; `labels` are the values of those behind ``run``, in order."""
        self._change(name, labels, lambda _: value)

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter; with 0 it is there, so that its first increase is seen as one."""
        self._change(name, labels, lambda before: before + amount)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Count a value in a histogram; one that is no number counts as infinitely large."""
        metric = CATALOGUE[name]
        key = self._key(metric, labels)
        with self.lock:
            counts = self._counts[name]
            if key not in counts:
                if len(counts) >= self.most:
                    self.add(_REFUSED)
                    return
                counts[key] = _Counts([0] * (len(metric.buckets) + 1))
            value = value if value == value else float("inf")
            counts[key].buckets[bisect_left(metric.buckets, value)] += 1
            counts[key].sum += value

    def forget(self, names: Iterable[str], host: str) -> None:
        """Remove the series of a host: those of gauges that may not come again."""
        wanted = self._safe(host)
        with self.lock:
            for name in names:
                place = CATALOGUE[name].labels.index("host")
                values = self._values[name]
                for key in [key for key in values if key[place] == wanted]:
                    del values[key]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have a value, as they stood at one moment."""
        with self.lock:
            found = [_family(metric, self._values[name], self._counts[name]) for name, metric in CATALOGUE.items()]
        yield from (family for family in found if family.samples)

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without values: what is registered."""
        yield from (_family(metric, {}, {}) for metric in CATALOGUE.values())

    def _change(self, name: str, labels: tuple[str, ...], change: Callable[[float], float]) -> None:
        key, values = self._key(CATALOGUE[name], labels), self._values[name]
        with self.lock:
            if key not in values and len(values) >= self.most:
                self.add(_REFUSED)
                return
            values[key] = change(values.get(key, 0.0))

    def _key(self, metric: Exported, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) + 1 != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, got {labels}")
        return (self._safe(self.run), *map(self._safe, labels))

    @staticmethod
    def _safe(text: str) -> str:
        """A label's value: printable, short, and different for texts that differ. Nothing stays empty."""
        return safe_name(text) if text else ""


def _family(metric: Exported, values: Values, counts: Mapping[tuple[str, ...], _Counts]) -> Metric:
    if metric.type is MetricType.HISTOGRAM:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for key, it in counts.items():
            family.add_metric(key, _cumulative(metric.buckets, it.buckets), it.sum)
        return family
    kind = CounterMetricFamily if metric.type is MetricType.COUNTER else GaugeMetricFamily
    simple: Any = kind(metric.name, metric.meaning, labels=metric.labels)
    for key, value in values.items():
        simple.add_metric(key, value)
    assert isinstance(simple, Metric)
    return simple


def _cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    names = [*map(str, bounds), "+Inf"]
    return [(name, float(sum(counts[: place + 1]))) for place, name in enumerate(names)]
