"""What an expression has for a result at one moment, as Prometheus 2 evaluates it."""

from collections.abc import Callable, Mapping
from functools import reduce
from math import inf, nan
from operator import add

from esper_alerts.expressions import ARITHMETIC, COMPARISONS, Binary, Call, Expression, Number, Selector, Sum
from esper_alerts.storage import Labels, Storage, Window

#: Values by labels.
Vector = dict[Labels, float]

#: A sample is looked for as far beyond the end of a window as 1.1 of the mean distance of those inside.
_NEAR = 1.1


class MatchingError(ValueError):
    """Two series of one operand have the labels by which operands are matched."""


def evaluate(it: Expression, storage: Storage, time: int) -> Vector | float:
    """Return the result of an expression.

    Args:
        it: the expression.
        storage: the series; it keeps every one that is named.
        time: milliseconds since 1970.

    Raises:
        MatchingError: operands cannot be matched one to one.
    """
    if isinstance(it, Number):
        return it.value
    if isinstance(it, Selector):
        return _selected(it, storage, time)
    if isinstance(it, Sum):
        return _summed(it, storage, time)
    if isinstance(it, Binary):
        return _combined(it, evaluate(it.left, storage, time), evaluate(it.right, storage, time))
    return _called(it, storage, time)


def _selected(it: Selector, storage: Storage, time: int) -> Vector:
    at = time - round(1000 * it.offset)
    return {
        labels: value
        for labels, named, value in storage.at(it.name, at)
        if all(matcher.matches(named) for matcher in it.matchers)
    }


def _summed(it: Sum, storage: Storage, time: int) -> Vector:
    found: Vector = {}
    for labels, value in _vector(evaluate(it.argument, storage, time)).items():
        key = tuple(pair for pair in labels if pair[0] in it.labels)
        found[key] = found.get(key, 0.0) + value
    return found


def _called(it: Call, storage: Storage, time: int) -> Vector | float:
    if it.function == "time":
        return time / 1000
    if it.function == "histogram_quantile":
        share, buckets = (evaluate(argument, storage, time) for argument in it.arguments)
        assert isinstance(share, float)
        return _quantiles(share, _vector(buckets))
    (selector,) = it.arguments
    assert isinstance(selector, Selector)
    assert selector.window is not None
    end = time - round(1000 * selector.offset)
    start = end - round(1000 * selector.window)
    found: Vector = {}
    for labels, named, window in storage.between(selector.name, start, end):
        if window.count > 1 and all(matcher.matches(named) for matcher in selector.matchers):
            per = selector.window if it.function == "rate" else 1.0
            found[labels] = _increase(window, start, end, per)
    return found


def _increase(window: Window, start: int, end: int, per: float) -> float:
    """How much a counter has grown: between its first and last sample, and on to the window's ends if they are near.

    Where they are not, half a mean distance of samples is added. A counter is never extended to below zero.
    """
    (first_time, first), (last_time, last) = window.first, window.last
    # Added up one by one, as Prometheus does: of rounded sums, a difference could be a little more than nothing.
    grown = reduce(add, window.resets, last - first)
    before, after = (first_time - start) / 1000, (end - last_time) / 1000
    sampled = (last_time - first_time) / 1000
    distance = sampled / (window.count - 1)
    if grown > 0 and first >= 0:
        before = min(before, sampled * (first / grown))
    extended = sampled
    for beyond in (before, after):
        extended += beyond if beyond < _NEAR * distance else distance / 2
    return grown * (extended / sampled / per)


def _quantiles(share: float, buckets: Vector) -> Vector:
    """Quantiles of histograms, each between the bounds of a bucket in a straight line."""
    histograms: dict[Labels, list[tuple[float, float]]] = {}
    for labels, count in buckets.items():
        bound = dict(labels).get("le")
        if bound is not None:
            rest = tuple(pair for pair in labels if pair[0] != "le")
            histograms.setdefault(rest, []).append((float(bound), count))
    return {labels: _quantile(share, sorted(found)) for labels, found in histograms.items()}


def _quantile(share: float, buckets: list[tuple[float, float]]) -> float:
    if len(buckets) < 2 or buckets[-1][0] != inf or not buckets[-1][1]:
        return nan
    counts: list[float] = []
    for _, count in buckets:  # counts of different scrapes may fall
        counts.append(max(count, counts[-1]) if counts else count)
    rank = share * counts[-1]
    place = next((place for place, count in enumerate(counts[:-1]) if count >= rank), len(buckets) - 1)
    if place == len(buckets) - 1:
        return buckets[-2][0]
    upper = buckets[place][0]
    if place == 0:
        return upper if upper <= 0 else upper * (rank / counts[0])
    lower, below = buckets[place - 1][0], counts[place - 1]
    return lower + (upper - lower) * ((rank - below) / (counts[place] - below))


def _combined(it: Binary, left: Vector | float, right: Vector | float) -> Vector | float:
    if isinstance(left, float) and isinstance(right, float):
        return ARITHMETIC[it.operator](left, right)
    if it.operator in COMPARISONS:
        return _compared(it, COMPARISONS[it.operator], left, right)
    if it.operator in ARITHMETIC:
        return _computed(it, ARITHMETIC[it.operator], left, right)
    return _of_sets(it, _vector(left), _vector(right))


def _compared(
    it: Binary, compare: Callable[[float, float], bool], left: Vector | float, right: Vector | float
) -> Vector:
    """Keep what compares: the left side's values, or the only side's."""
    if isinstance(right, float):
        return {labels: value for labels, value in _vector(left).items() if compare(value, right)}
    if isinstance(left, float):
        return {labels: value for labels, value in right.items() if compare(left, value)}
    return {key: one for key, one, other in _matched(it, left, right) if compare(one, other)}


def _computed(
    it: Binary, compute: Callable[[float, float], float], left: Vector | float, right: Vector | float
) -> Vector:
    if isinstance(right, float):
        return {labels: compute(value, right) for labels, value in _vector(left).items()}
    if isinstance(left, float):
        return {labels: compute(left, value) for labels, value in right.items()}
    return {key: compute(one, other) for key, one, other in _matched(it, left, right)}


def _of_sets(it: Binary, left: Vector, right: Vector) -> Vector:
    if it.operator == "or":
        there = {_key(it, labels) for labels in left}
        return left | {labels: value for labels, value in right.items() if _key(it, labels) not in there}
    there, wanted = {_key(it, labels) for labels in right}, it.operator == "and"
    return {labels: value for labels, value in left.items() if (_key(it, labels) in there) is wanted}


def _matched(it: Binary, left: Vector, right: Vector) -> list[tuple[Labels, float, float]]:
    others, found = _by_key(it, right), []
    for key, value in _by_key(it, left, others).items():
        if key in others:
            found.append((key, value, others[key]))
    return found


def _by_key(it: Binary, vector: Vector, wanted: Mapping[Labels, float] | None = None) -> Vector:
    found: Vector = {}
    for labels, value in vector.items():
        key = _key(it, labels)
        if key in found and (wanted is None or key in wanted):
            raise MatchingError(f'"{it.operator}" has several series with the labels {dict(key)}')
        found[key] = value
    return found


def _key(it: Binary, labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] not in it.ignoring) if it.ignoring else labels


def _vector(it: Vector | float) -> Vector:
    assert not isinstance(it, float)
    return it
