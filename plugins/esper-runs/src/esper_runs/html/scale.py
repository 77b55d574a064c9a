"""From figures to places in a drawing, whatever the figures are."""

from collections.abc import Iterable
from math import ceil, floor, isfinite, log10

from attrs import frozen


@frozen
class Scale:
    """A linear scale.

    Attributes:
        low, high: the figures at its ends; low < high.
        start, end: the places of its ends.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> "Scale | None":
        """Return the scale that holds all values; None without one, or if they are too far apart to be drawn."""
        finite = [value for value in values if isfinite(value)]
        if not finite:
            return None
        low, high = min(finite), max(finite)
        margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        low, high = low - margin, high + margin
        return cls(low, high, start, end) if isfinite(high - low) and high > low else None

    def place(self, value: float) -> float:
        """Return where a figure stands, rounded to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int = 5, *, whole: bool = False) -> list[float]:
        """Return round figures within the scale, at most about this many; `whole`: integers only."""
        span = self.high - self.low
        rough = span / most
        power = 10.0 ** floor(log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        step = max(1.0, step) if whole else step
        if not isfinite(step) or step <= 0 or span / step > 4 * most:
            return []
        first = ceil(self.low / step)
        return [(first + i) * step for i in range(floor(self.high / step) - first + 1)]
