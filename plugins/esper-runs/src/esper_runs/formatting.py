"""How figures are written, with their units. What is missing is a dash, never a number."""

from collections.abc import Mapping
from math import floor, inf, isfinite, isnan, log10
from typing import Any

MISSING = "-"

#: Digits of losses behind the point; smaller ones are written with two significant digits.
_DIGITS = 3

#: No paired difference is written with more digits than this.
_MOST_DIGITS = 9


def as_number(value: Any) -> float | None:
    """Return a number from a JSON file, where ``"NaN"`` and ``"Infinity"`` are texts; None for anything else."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def percent(accuracy: Any) -> str:
    """Write an accuracy from 0 to 1 in per cent."""
    if (value := as_number(accuracy)) is None or not isfinite(value):
        return _no_number(value)
    return f"{_fixed(100 * value, 1)} %"


def points(difference: Any) -> str:
    """Write a difference of accuracies in percentage points: with two digits where one would hide it; zero unsigned."""
    if (value := as_number(difference)) is None or not isfinite(value):
        return _no_number(value)
    return f"{_fixed(100 * value, 1 if abs(100 * value) >= 0.05 else 2, signed=True, zero='0.0')} points"


def loss(nats: Any, signed: bool = False, digits: int = _DIGITS) -> str:
    """Write a loss, or a difference of losses, in nats: what would be written as zero gets two significant digits."""
    if (value := as_number(nats)) is None or not isfinite(value):
        return _no_number(value)
    if 0 < abs(value) < 10.0**-digits:
        return f"{value:{'+' if signed else ''}.2g}"
    return _fixed(value, digits, signed=signed)


def figure(number: Any, signed: bool = False) -> str:
    """Write a figure on somebody's own scale, with four significant digits."""
    if (value := as_number(number)) is None or not isfinite(value):
        return _no_number(value)
    return f"{value:{'+' if signed and value else ''}.4g}"


def paired(difference: Mapping[str, Any] | None, digits: int = _DIGITS) -> str:
    """Write a paired difference of losses with its standard error, in which a small one has two significant digits."""
    if not difference:
        return MISSING
    mean, error = as_number(difference.get("mean")), as_number(difference.get("standard_error"))
    if mean is None or error is None or not (isfinite(mean) and isfinite(error)) or error == 0:
        return f"{loss(mean, True, digits)} ± {loss(error, digits=digits)}"
    if error < 0.5 * 10.0**-digits:
        digits = 1 - floor(log10(error))
    if digits > _MOST_DIGITS:
        return f"{mean:+.2g} ± {error:.2g}"
    return f"{_fixed(mean, digits, signed=True)} ± {_fixed(error, digits)}"


def whole(number: Any, signed: bool = False) -> str:
    """Write a whole number with separators."""
    if (value := as_number(number)) is None or not isfinite(value):
        return _no_number(value)
    return f"{round(value):{'+' if signed and round(value) else ''},}"


def flops(number: Any, signed: bool = False) -> str:
    """Write a number of floating-point operations with a unit."""
    value, sign = as_number(number), "+" if signed else ""
    if value is None or not isfinite(value):
        return _no_number(value)
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:{sign}.1f} {unit}FLOP"
    return f"{whole(value, signed)} FLOP"


def size(count: int) -> str:
    """Write a number of bytes with a unit."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def duration(seconds: Any, signed: bool = False) -> str:
    """Write a duration in the unit that suits it."""
    value = as_number(seconds)
    if value is None or not isfinite(value):
        return _no_number(value)
    for unit, length, above in (("days", 86400, 172800), ("h", 3600, 7200), ("min", 60, 120)):
        if abs(value) >= above:
            return f"{_fixed(value / length, 1, signed=signed)} {unit}"
    return f"{_fixed(value, 1, signed=signed)} s"


def metrics(split: Mapping[str, Any] | None) -> str:
    """Write accuracy and loss of an epoch over one split; the loss alone where there is no accuracy, or only that."""
    if split is None:
        return MISSING
    accuracy, nats = known(split.get("accuracy")), loss(split.get("loss"))
    # Over no samples nothing was measured: of its training a loop of one's own says what it likes.
    if split.get("samples") == 0 and known(split.get("loss")) is None:
        return MISSING if accuracy is None else percent(accuracy)
    return f"loss {nats}" if accuracy is None else f"{percent(accuracy)} ({nats})"


def known(accuracy: Any) -> float | None:
    """Return an accuracy from a JSON file; None where there is none, for which NaN stands there."""
    value = as_number(accuracy)
    return None if value is None or isnan(value) else value


def value_in_words(value: Any) -> str:
    """Write one figure of a gate's evidence."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if isfinite(value) else _no_number(value)
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
            difference = {"mean": rest.pop(key), "standard_error": rest.pop(error)}
            parts.append(f"{_words(stem)} = {paired(difference, digits=4)} nats{count}")
        else:
            parts.append(f"{_words(key)} = {value_in_words(rest.pop(key))}")
    return ", ".join(parts)


def _no_number(value: float | None) -> str:
    if value is None:
        return MISSING
    return "NaN" if isnan(value) else "inf" if value > 0 else "-inf"


def _fixed(value: float, digits: int, *, signed: bool = False, zero: str | None = None) -> str:
    """Zero has no sign: neither what is zero nor what is rounded to it."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if float(text) else (zero or text.lstrip("+-"))


def _words(key: str) -> str:
    return key.replace("_", " ")
