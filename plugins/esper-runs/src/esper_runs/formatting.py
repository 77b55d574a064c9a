"""How figures are written, with their units. What is missing is a dash, never a number."""

from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

MISSING = "-"


def as_number(value: Any) -> float | None:
    """Return a number from a JSON file, where ``"NaN"`` and ``"Infinity"`` are texts; None for what is no number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None


def percent(accuracy: Any) -> str:
    """Write an accuracy from 0 to 1 in per cent."""
    return MISSING if (value := as_number(accuracy)) is None else f"{100 * value:.1f} %"


def points(difference: Any) -> str:
    """Write a difference of accuracies in percentage points."""
    return MISSING if (value := as_number(difference)) is None else f"{100 * value:+.1f} points"


def loss(nats: Any, signed: bool = False, digits: int = 3) -> str:
    """Write a loss, or a difference of losses, in nats."""
    return MISSING if (value := as_number(nats)) is None else f"{value:{'+' if signed else ''}.{digits}f}"


def whole(number: Any, signed: bool = False) -> str:
    """Write a whole number with separators."""
    value = as_number(number)
    return MISSING if value is None else str(value) if not isfinite(value) else f"{value:{'+' if signed else ''},.0f}"


def flops(number: Any, signed: bool = False) -> str:
    """Write a number of floating-point operations with a unit."""
    value, sign = as_number(number), "+" if signed else ""
    if value is None:
        return MISSING
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:{sign}.1f} {unit}FLOP"
    return f"{value:{sign}.0f} FLOP"


def size(count: int) -> str:
    """Write a number of bytes with a unit."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def duration(seconds: Any, signed: bool = False) -> str:
    """Write a duration in the unit that suits it."""
    value = as_number(seconds)
    if value is None:
        return MISSING
    for unit, length, above in (("days", 86400, 172800), ("h", 3600, 7200), ("min", 60, 120)):
        if abs(value) >= above:
            return f"{value / length:{'+' if signed else ''}.1f} {unit}"
    return f"{value:{'+' if signed else ''}.1f} s"


def paired(difference: Mapping[str, Any] | None) -> str:
    """Write a paired difference of losses with its standard error."""
    if not difference:
        return MISSING
    return f"{loss(difference['mean'], signed=True)} ± {loss(difference['standard_error'])}"


def value_in_words(value: Any) -> str:
    """Write one figure of a gate's evidence."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "NaN" if isnan(value) else f"{value:.4g}"
    return str(value) or "none"


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """Write all figures of a gate's evidence: a difference with its error, everything else one by one."""
    rest, parts = dict(evidence), []
    for key in evidence:
        if key not in rest:
            continue
        stem = key.removesuffix("_nats")
        error, samples = f"{stem}_standard_error", f"{stem}_samples"
        if stem != key and rest.get(key) is not None and error in rest:
            count = f" ({rest.pop(samples)} samples)" if samples in rest else ""
            mean, spread = loss(rest.pop(key), signed=True, digits=4), loss(rest.pop(error), digits=4)
            parts.append(f"{_words(stem)} = {mean} ± {spread} nats{count}")
        else:
            parts.append(f"{_words(key)} = {value_in_words(rest.pop(key))}")
    return ", ".join(parts)


def _words(key: str) -> str:
    return key.replace("_", " ")
