"""Charts drawn with characters over the epochs of a run. They share columns, so they can stand below each other."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from math import exp, inf, isfinite, log

from attrs import frozen
from rich.text import Text

from esper_runs.terminal import Terminal

#: The marks of a value that is not finite, and of the place where two curves meet.
NOT_FINITE, BOTH = "!", "="


@frozen(kw_only=True)
class Columns:
    """The epochs of a chart: one column each, or several in a column where the width does not suffice.

    Attributes:
        spans: the epochs of each column, from 0.
    """

    spans: tuple[range, ...]

    @classmethod
    def fit(cls, epochs: range, width: int) -> "Columns":
        """Share the epochs among at most `width` columns."""
        step = max(1, -(-len(epochs) // max(width, 1)))
        return cls(spans=tuple(epochs[at : at + step] for at in range(0, len(epochs), step)))

    @property
    def epochs_per_column(self) -> int:
        """How many epochs share a column."""
        return len(self.spans[0]) if self.spans else 1

    def means(self, values: Mapping[int, float]) -> list[float | None]:
        """Return the mean of each column's values; None where there are none, infinite where one is not finite."""
        return [_mean([values[epoch] for epoch in span if epoch in values]) for span in self.spans]

    def axis(self) -> str:
        """Return a line with the first epoch's number and round ones, counted from 1, below their columns."""
        every = next(n for n in _round_numbers() if n >= 6 * self.epochs_per_column)
        line = ""
        for index, span in enumerate(self.spans):
            label = next((str(epoch + 1) for epoch in span if (epoch + 1) % every == 0), "")
            if index == 0 or (label and index > len(line)):
                line = line.ljust(index) + (label if index else str(span[0] + 1))
        return line


@frozen(kw_only=True)
class Curve:
    """One series of a line chart: values by epoch, drawn with a mark in a style."""

    mark: str
    style: str
    values: Mapping[int, float]


@frozen(kw_only=True)
class Scale:
    """Which row of a chart a value belongs to; row 0 is the lowest.

    Attributes:
        low, high: the values of the lowest and the highest row.
        height: number of rows.
        logarithmic: equal heights are equal ratios; for positive values only.
    """

    low: float
    high: float
    height: int
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], height: int) -> "Scale | None":
        """Return the scale for these values, logarithmic where they span more than a decade; None without any."""
        finite = [value for value in values if isfinite(value)]
        if not finite:
            return None
        low, high = min(finite), max(finite)
        return cls(low=low, high=high, height=height, logarithmic=low > 0 and high / low > 10)

    def row(self, value: float) -> int:
        """Return the row of a value; what is not finite is drawn at the top."""
        if not isfinite(value) or self.high <= self.low:
            return self.height - 1 if not isfinite(value) else 0
        low, high, at = (log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round((at - low) / (high - low) * (self.height - 1))

    def value(self, row: int) -> float:
        """Return the value that a row stands for."""
        share = row / max(self.height - 1, 1)
        if self.logarithmic:
            return exp(log(self.low) + share * (log(self.high) - log(self.low)))
        return self.low + share * (self.high - self.low)


def line_chart(
    curves: Sequence[Curve], columns: Columns, terminal: Terminal, write: Callable[[float], str], height: int = 8
) -> Iterator[tuple[str, Text]]:
    """Yield the label and the drawing of each row, from the top; nothing without a finite value.

    Args:
        curves: what to draw.
        columns: the epochs.
        terminal: draws.
        write: how a value is written beside the chart.
        height: number of rows.
    """
    series = [(curve, columns.means(curve.values)) for curve in curves]
    scale = Scale.around((value for _, values in series for value in values if value is not None), height)
    if scale is None:
        return
    labelled = {0, height // 2, height - 1} if scale.high > scale.low else {0}
    for row in range(max(labelled), -1, -1):
        marks = (
            _mark([(curve, values[index]) for curve, values in series], scale, row, terminal)
            for index in range(len(columns.spans))
        )
        yield write(scale.value(row)) if row in labelled else "", Text.assemble(*marks)


def level_row(values: Mapping[int, float], columns: Columns, terminal: Terminal) -> Text:
    """Return a row of bars from the lowest value to the highest; blank where there is none."""
    means = columns.means(values)
    finite = [mean for mean in means if mean is not None and isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def bar(mean: float | None) -> str:
        if mean is None or not isfinite(mean):
            return " " if mean is None else NOT_FINITE
        return terminal.block((mean - low) / (high - low) if high > low else 0.0)

    return Text("".join(map(bar, means)))


def _mark(points: list[tuple[Curve, float | None]], scale: Scale, row: int, terminal: Terminal) -> Text:
    here = [(curve, value) for curve, value in points if value is not None and scale.row(value) == row]
    if not here:
        return Text(" ")
    if any(not isfinite(value) for _, value in here):
        return terminal.text(NOT_FINITE, "bad")
    return Text(BOTH) if len(here) > 1 else terminal.text(here[0][0].mark, here[0][0].style)


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    return sum(values) / len(values) if all(map(isfinite, values)) else inf


def _round_numbers() -> Iterator[int]:
    for power in count():
        yield from (factor * 10**power for factor in (1, 2, 5))
