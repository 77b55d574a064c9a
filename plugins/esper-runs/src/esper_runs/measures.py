"""How much a grown network differs from one that never grew in one measure, and whether that is clear."""

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite, sqrt
from typing import Any

from attrs import frozen

from esper_runs.formatting import as_number

#: How many standard errors a difference must be away from zero to be clear.
STANDARD_ERRORS = 2

#: Two accuracies this close are the same: they are shares of some whole number of answers.
_SAME_ACCURACY = 1e-9


class Direction(StrEnum):
    """How the grown network compares with one that never grew in one measure.

    Attributes:
        BETTER, WORSE: by more than two standard errors.
        EQUAL: exactly the same.
        UNCLEAR: they differ by what may be chance, or the standard error is not known.
        UNKNOWN: the difference was not measured or is not finite.
    """

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"
    UNCLEAR = "unclear"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Measure:
    """One measure of the grown network beside that of one that never grew.

    Attributes:
        difference: positive where the grown network is better; None if it is not known or not finite.
        standard_error: of the difference; None if it is not known or not finite.
        direction: what follows from the two.
    """

    difference: float | None = None
    standard_error: float | None = None
    direction: Direction = Direction.UNKNOWN


def accuracy_measure(difference: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], against: str) -> Measure:
    """Return the difference in test accuracy of a result.

    Args:
        difference: of the grown network and the other, as in the result.
        hosts: the grown network and the other, as in the result.
        against: the other's name.
    """
    gain = finite(difference.get("test_accuracy"))
    if gain is None:
        return Measure()
    # Which answers both networks got right is not recorded: the error is that of two independent samples, which is
    # larger than that of a paired difference. Answers within one sample are no independent ones; a sample counts once.
    error = None
    if len(hosts) == 2 and against in hosts:
        shares = [finite(host.get("test_accuracy")) for host in hosts.values()]
        samples = [finite(host.get("test_samples")) for host in hosts.values()]
        known = [s for s in shares if s is not None and 0 <= s <= 1]
        counted = [n for n in samples if n is not None and n >= 1]
        if len(known) == len(counted) == 2:
            error = sqrt(sum(share * (1 - share) for share in known) / min(counted))
    if abs(gain) < _SAME_ACCURACY:
        return Measure(difference=0.0, standard_error=error, direction=Direction.EQUAL)
    return Measure(difference=gain, standard_error=error, direction=direction_of(gain, error))


def loss_measure(difference: Mapping[str, Any]) -> Measure:
    """Return the paired difference in test loss of a result, in nats."""
    gain = difference.get("test_gain") or {}
    mean, error = finite(gain.get("mean")), finite(gain.get("standard_error"))
    if mean is None:
        return Measure()
    if error is not None and error < 0:
        error = None
    if mean == error == 0:
        return Measure(difference=0.0, standard_error=0.0, direction=Direction.EQUAL)
    return Measure(difference=mean, standard_error=error, direction=direction_of(mean, error))


def direction_of(difference: float, error: float | None) -> Direction:
    """Say whether a difference is clear; without a standard error it is not."""
    if error is None or not abs(difference) > STANDARD_ERRORS * error:
        return Direction.UNCLEAR
    return Direction.BETTER if difference > 0 else Direction.WORSE


def compute_of(host: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return what a host has taken in all, and to train the network and its seeds, in floating-point operations."""
    compute = host.get("compute")
    if not isinstance(compute, Mapping):
        return None, None
    parts = [finite(compute.get(name)) for name in ("training", "candidates")]
    return finite(compute.get("total")), None if None in parts else sum(part or 0.0 for part in parts)


def is_not_finite(value: Any) -> bool:
    """Say whether a value is a number that is infinite, or NaN."""
    number = as_number(value)
    return number is not None and not isfinite(number)


def finite(value: Any) -> float | None:
    """Return a number from a JSON file; None for one that is not finite, and for anything else."""
    number = as_number(value)
    return number if number is not None and isfinite(number) else None


def whole_number(value: Any) -> int | None:
    """Return a number from a JSON file, rounded; None as in `finite`."""
    return None if (number := finite(value)) is None else round(number)
