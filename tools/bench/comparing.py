"""Timing things in turn, and the rows that come of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter, process_time

from attrs import frozen

Work = Callable[[], object]


@frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        against: what it is divided by.
        ratio, low, high: median and quartiles, in process CPU time (or in what `name` says).
        wall: median in wall time; None where time is not what is measured.
        target: what the ratio shall not exceed; None for a figure without a target.
    """

    name: str
    against: str
    ratio: float
    low: float
    high: float
    wall: float | None = None
    target: float | None = None


@frozen(kw_only=True)
class Effort:
    """How much is done: all that the figures need, or just enough to see that everything runs."""

    quick: bool

    def of(self, full: int, quick: int = 2) -> int:
        """Return one of two numbers: of rounds, samples or epochs."""
        return quick if self.quick else full


@frozen(kw_only=True)
class Times:
    """Seconds of every work in every round."""

    cpu: Mapping[str, Sequence[float]]
    wall: Mapping[str, Sequence[float]]

    def fastest(self, names: Sequence[str]) -> str:
        """Return the name whose median CPU time is least."""
        return min(names, key=lambda name: median(self.cpu[name]))

    def row(self, name: str, work: str, base: str, *, against: str, target: float | None = None) -> Row:
        """Return the row of one work over another."""
        ratios, walls = (
            [a / b for a, b in zip(spent[work], spent[base], strict=True)] for spent in (self.cpu, self.wall)
        )
        return row_of(name, ratios, against=against, wall=median(walls), target=target)


def row_of(
    name: str, ratios: Sequence[float], *, against: str, wall: float | None = None, target: float | None = None
) -> Row:
    """Return the row of some ratios."""
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else [*ratios] * 3
    return Row(name=name, against=against, ratio=middle, low=low, high=high, wall=wall, target=target)


def in_turn(works: Mapping[str, Work], rounds: int, *, warm_up: int = 1) -> Times:
    """Do everything once in each round; the first `warm_up` rounds do not count."""
    cpu: dict[str, list[float]] = {name: [] for name in works}
    wall: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + warm_up):
        for name, work in works.items():
            began, clock = process_time(), perf_counter()
            work()
            spent, passed = process_time() - began, perf_counter() - clock
            if turn >= warm_up:
                cpu[name].append(spent)
                wall[name].append(passed)
    return Times(cpu=cpu, wall=wall)


Benchmark = Callable[[Effort], Iterator[Row]]
