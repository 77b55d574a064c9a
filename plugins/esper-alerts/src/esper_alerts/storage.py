"""Samples of series over time, as far back as somebody looks."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field, frozen

#: Names and values of labels, by name.
Labels = tuple[tuple[str, str], ...]

#: For how long the newest sample of a series stands for it, in milliseconds: 5 minutes, as in Prometheus.
LOOKBACK = 300_000

#: Old samples are thrown away when there are this many of them.
_SPARE = 512


@frozen
class Window:
    """The samples of one series in a range of time; there is at least one.

    Attributes:
        first, last: milliseconds since 1970, and the value.
        count: how many samples there are.
        resets: what a counter had come to wherever it began again in between.
    """

    first: tuple[int, float]
    last: tuple[int, float]
    count: int
    resets: Sequence[float]


@define(eq=False)
class _History:
    """One series. `resets` has the time of each value that is smaller than the one before it, and the one before it."""

    labels: Mapping[str, str]
    times: "array[int]" = field(factory=lambda: array("q"))
    values: "array[float]" = field(factory=lambda: array("d"))
    resets: list[tuple[int, float]] = field(factory=list)
    ends: list[int] = field(factory=list)

    def add(self, time: int, value: float) -> None:
        if self.times and self.times[-1] == time:  # looked at twice: what was seen last counts
            self.times.pop(), self.values.pop()
            if self.resets and self.resets[-1][0] == time:
                self.resets.pop()
        if self.values and value < self.values[-1]:
            self.resets.append((time, self.values[-1]))
        self.times.append(time)
        self.values.append(value)

    def at(self, time: int) -> float | None:
        place = bisect_right(self.times, time) - 1
        if place < 0 or self.times[place] < time - LOOKBACK:
            return None
        ended = bisect_right(self.ends, time)
        if ended and self.ends[ended - 1] > self.times[place]:
            return None
        return self.values[place]

    def between(self, start: int, end: int) -> Window | None:
        first, last = bisect_left(self.times, start), bisect_right(self.times, end) - 1
        if first > last:
            return None
        return Window(
            first=(self.times[first], self.values[first]),
            last=(self.times[last], self.values[last]),
            count=last - first + 1,
            resets=[lost for time, lost in self.resets if self.times[first] < time <= self.times[last]],
        )

    def forget(self, before: int) -> None:
        old = bisect_left(self.times, before)
        if old >= _SPARE:
            del self.times[:old], self.values[:old]
            self.resets = [it for it in self.resets if it[0] >= before]
            self.ends = [time for time in self.ends if time >= before]


class Storage:
    """The samples of every series that is looked at.

    Args:
        kept: how far back each series is looked at, in milliseconds, by its name. Others are not kept.
    """

    def __init__(self, kept: Mapping[str, int]) -> None:
        self._kept = kept
        self._series: dict[str, dict[Labels, _History]] = {name: {} for name in kept}

    def add(self, name: str, labels: Labels, time: int, value: float) -> None:
        """Keep a sample; its time is in milliseconds, and none before was later."""
        series = self._series[name]
        history = series.get(labels)
        if history is None:
            history = series[labels] = _History(dict(labels))
        history.add(time, value)
        history.forget(time - self._kept[name] - LOOKBACK)

    def end(self, name: str, labels: Labels, time: int) -> None:
        """Say that a series is gone: from now on it has no value, until it has a sample again."""
        if (history := self._series[name].get(labels)) is not None:
            history.ends.append(time)

    def names(self) -> Iterable[str]:
        """Return the names of the series that are kept."""
        return self._series

    def at(self, name: str, time: int) -> Iterator[tuple[Labels, Mapping[str, str], float]]:
        """Yield the labels and the values of series at a time."""
        for labels, history in self._series[name].items():
            if (value := history.at(time)) is not None:
                yield labels, history.labels, value

    def between(self, name: str, start: int, end: int) -> Iterator[tuple[Labels, Mapping[str, str], Window]]:
        """Yield the samples of series between two times, both included."""
        for labels, history in self._series[name].items():
            if (window := history.between(start, end)) is not None:
                yield labels, history.labels, window
