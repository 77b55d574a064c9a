"""Figures and events in words, for lines, displays and tables alike. Absence is a dash, never a number."""

from collections.abc import Mapping
from typing import Any

MISSING = "-"


def percent(accuracy: float | None) -> str:
    """Write an accuracy from 0 to 1 in per cent."""
    return MISSING if accuracy is None else f"{100 * accuracy:.1f} %"


def points(difference: float | None) -> str:
    """Write a difference of accuracies in percentage points."""
    return MISSING if difference is None else f"{100 * difference:+.1f} points"


def loss(value: float | None) -> str:
    """Write a loss in nats."""
    return MISSING if value is None else f"{value:.3f}"


def number(value: float | None, signed: bool = False) -> str:
    """Write a whole number with separators."""
    return MISSING if value is None else f"{value:+,.0f}" if signed else f"{value:,.0f}"


def flops(value: float | None, signed: bool = False) -> str:
    """Write a number of operations with a unit."""
    if value is None:
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:{'+' if signed else ''}.1f} {unit}FLOP"
    return f"{value:{'+' if signed else ''}.0f} FLOP"


def seconds(value: float | None, signed: bool = False) -> str:
    """Write a duration."""
    return MISSING if value is None else f"{value:{'+' if signed else ''}.1f} s"


def paired(difference: Mapping[str, Any] | None) -> str:
    """Write a paired difference of losses with its standard error."""
    if difference is None:
        return MISSING
    return f"{difference['mean']:+.3f} ± {difference['standard_error']:.3f}"


def transition(data: Mapping[str, Any]) -> str:
    """Say what became of a seed."""
    why = data.get("reason") or data.get("cause") or ""
    said = f"{data['slot']}: {data['blueprint']} {data['source']} → {data['target']}"
    return f"{said} ({why})" if why else said


def metrics(split: Mapping[str, Any] | None) -> str:
    """Write accuracy and loss over one split."""
    if split is None:
        return MISSING
    return f"{percent(split['accuracy'])} ({loss(split['loss'])})"
