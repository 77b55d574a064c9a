"""The present values of all metrics, bounded in number."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import RLock
from typing import Any

from attrs import define, field, frozen

from esper_alerts.catalogue import CATALOGUE, Exported, MetricType
from esper_runs.names import safe_name

_REFUSED = "esper_series_refused_total"


@define
class Counts:
    """What a histogram has counted.

    Attributes:
        buckets: values by the bucket that they are in, the last above every bound.
        sum: of all values.
    """

    buckets: list[int]
    sum: float = 0.0


#: A value by the values of its labels.
Values = dict[tuple[str, ...], float]


@frozen
class Sample:
    """One value as a scrape sees it: of a histogram there are several.

    Attributes:
        name: of the series; a histogram's end in ``_bucket``, ``_sum`` and ``_count``.
        labels: names and values.
        value: the value.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@define(eq=False)
class Series:
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
    _counts: dict[str, dict[tuple[str, ...], Counts]] = field(init=False, factory=lambda: {n: {} for n in CATALOGUE})

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
                counts[key] = Counts([0] * (len(metric.buckets) + 1))
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

    def values_of(self, metric: Exported) -> Mapping[tuple[str, ...], float]:
        """Return the values of a gauge or a counter; hold `lock` while you read them."""
        return self._values[metric.name]

    def counts_of(self, metric: Exported) -> Mapping[tuple[str, ...], Counts]:
        """Return what a histogram has counted; hold `lock` while you read it."""
        return self._counts[metric.name]

    def samples(self, names: Iterable[str] = CATALOGUE) -> list[Sample]:
        """Return everything as it stands at one moment, of all metrics or of those that are named."""
        with self.lock:
            return [sample for name in names for sample in self._samples(CATALOGUE[name])]

    def _samples(self, metric: Exported) -> Iterator[Sample]:
        if metric.type is not MetricType.HISTOGRAM:
            for key, value in self._values[metric.name].items():
                yield Sample(metric.name, tuple(zip(metric.labels, key, strict=True)), value)
            return
        for key, counts in self._counts[metric.name].items():
            labels = tuple(zip(metric.labels, key, strict=True))
            cumulative = cumulative_counts(metric.buckets, counts.buckets)
            for bound, count in cumulative:
                yield Sample(f"{metric.name}_bucket", (*labels, ("le", bound)), count)
            yield Sample(f"{metric.name}_sum", labels, counts.sum)
            yield Sample(f"{metric.name}_count", labels, cumulative[-1][1])

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


def cumulative_counts(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Return how many values are at most each bound, as Prometheus writes it; the last is ``+Inf``."""
    names = [*map(str, bounds), "+Inf"]
    return [(name, float(sum(counts[: place + 1]))) for place, name in enumerate(names)]
