"""Counters and latency histograms of publishers and subscribers."""

import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

#: Upper bounds of the histogram's buckets in seconds; the last bucket has none.
BOUNDS = (0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How long something took: a count for each bucket, as Prometheus keeps it, not cumulated."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count something that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += times
        self.seconds += seconds * times

    def quantile(self, share: float) -> float | None:
        """Return the upper bound in seconds of the bucket of this quantile; None if nothing was counted.

        It is infinite beyond the last bound.
        """
        total, seen = sum(self.counts), 0
        if total == 0:
            return None
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= share * total:
                return bound
        raise AssertionError("the counts add up to the total")


class Metrics:
    """What a publisher or a subscriber has done; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, float | str] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, name: str, times: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + times

    def gauge(self, name: str, value: float | str) -> None:
        """Set a value that goes up and down, or a state's name."""
        with self._lock:
            self._gauges[name] = value

    def time(self, name: str, seconds: float, times: int = 1) -> None:
        """Add to a histogram; names end in ``_seconds``."""
        with self._lock:
            self._histograms.setdefault(name, Histogram()).add(max(0.0, seconds), times)

    def quantile(self, name: str, share: float) -> float | None:
        """Return a quantile of a histogram, as `Histogram.quantile` does."""
        with self._lock:
            found = self._histograms.get(name)
            return None if found is None else found.quantile(share)

    def value(self, name: str) -> int:
        """Return a counter; 0 if it never counted."""
        with self._lock:
            return self._counters.get(name, 0)

    def snapshot(self) -> Mapping[str, Any]:
        """Return all values by name as plain data; a histogram has ``counts``, ``seconds``, ``p50`` and ``p99``."""
        with self._lock:
            timed = {
                name: {
                    "counts": [*it.counts],
                    "seconds": it.seconds,
                    "p50": it.quantile(0.5),
                    "p99": it.quantile(0.99),
                }
                for name, it in self._histograms.items()
            }
            return {**self._counters, **self._gauges, **timed}
