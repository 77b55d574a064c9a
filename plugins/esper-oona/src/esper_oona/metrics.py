"""Counters and latency histograms of publishers and subscribers."""

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

#: Upper bounds of the histogram's buckets in seconds; the last bucket has none.
BOUNDS = (0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How long something took: a count for each bucket, as Prometheus keeps it, not cumulated."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count something that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

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


@frozen(kw_only=True)
class Latency:
    """How long something took, of all times so far.

    Attributes:
        counts: how many times it took up to each of `BOUNDS`, and longer; not cumulated.
        seconds: all of it together.
        p50, p99: the upper bounds of the quantiles' buckets in seconds, infinite beyond the last one.
    """

    counts: tuple[int, ...]
    seconds: float
    p50: float
    p99: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Latency":
        """Return what a histogram with at least one time holds."""
        p50, p99 = histogram.quantile(0.5) or 0.0, histogram.quantile(0.99) or 0.0
        return cls(counts=tuple(histogram.counts), seconds=histogram.seconds, p50=p50, p99=p99)


@frozen(kw_only=True)
class Figures:
    """What a publisher or a subscriber has done so far, and how its bus is.

    Attributes:
        breaker: ``closed``, ``open`` or ``half-open``.
        degraded: the bus did not answer the last times, and is asked only now and then.
        counts: such as ``published``, ``handled``, ``retried``, ``taken_over``, ``dead``, ``refused.REASON``.
        gauges: such as ``depth.STREAM``.
        latencies: such as ``publish_seconds``.
    """

    breaker: str
    degraded: bool
    counts: Mapping[str, int]
    gauges: Mapping[str, float]
    latencies: Mapping[str, Latency]

    def numbers(self) -> Mapping[str, float]:
        """Return all of them as finite numbers by name, as telemetry carries them.

        A latency is ``NAME.count``, ``NAME.sum`` and ``NAME.le_BOUND``, which is how many times it took up to so many
        seconds (cumulated, as Prometheus has it).
        """
        found: dict[str, float] = {**self.counts, **self.gauges, "degraded": float(self.degraded)}
        for name, it in self.latencies.items():
            found |= {f"{name}.count": float(sum(it.counts)), f"{name}.sum": it.seconds}
            found |= {f"{name}.le_{bound:g}": float(sum(it.counts[: at + 1])) for at, bound in enumerate(BOUNDS)}
        return found


class Metrics:
    """What a publisher or a subscriber has done; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, float | str] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, name: str, times: int = 1) -> None:
        """Add to a counter; adding nothing makes none."""
        if not times:
            return
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + times

    def gauge(self, name: str, value: float | str) -> None:
        """Set a value that goes up and down, or a state's name."""
        with self._lock:
            self._gauges[name] = value

    def breaker(self, state: str) -> None:
        """Set the state of the breaker in front of the bus; it is degraded unless that is ``closed``."""
        with self._lock:
            self._gauges |= {"breaker": state, "degraded": float(state != "closed")}

    def figures(self) -> "Figures":
        """Return all values as they are now."""
        with self._lock:
            gauges = {name: it for name, it in self._gauges.items() if not isinstance(it, str)}
            latencies = {name: Latency.of(it) for name, it in self._histograms.items()}
            return Figures(
                breaker=str(self._gauges.get("breaker", "closed")),
                degraded=bool(self._gauges.get("degraded", 0.0)),
                counts=dict(self._counters),
                gauges={name: it for name, it in gauges.items() if name != "degraded"},
                latencies=latencies,
            )

    def time(self, name: str, seconds: float) -> None:
        """Add to a histogram; names end in ``_seconds``."""
        self.time_all(name, (seconds,))

    def time_all(self, name: str, seconds: Sequence[float]) -> None:
        """Add to a histogram how long each of several things took."""
        if seconds:
            with self._lock:
                histogram = self._histograms.setdefault(name, Histogram())
                for it in seconds:
                    histogram.add(max(0.0, it))

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
