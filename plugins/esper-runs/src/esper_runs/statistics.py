"""Differences between pairs, such as two policies on the same random seeds: the one place for intervals and tests.

scipy computes them: ``pip install esper-runs[statistics]``.
"""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError

#: Resamples of the bootstrap; enough that the interval's ends are reproduced to a fiftieth of its length.
RESAMPLES = 9_999

#: The sign-flip test is exact up to this many pairs; above them it draws as many flips as it would count at this many.
EXACT_PAIRS = 16

CONFIDENCE = 0.95


@frozen(kw_only=True)
class PairedResult:
    """What pairs of figures differ by.

    Attributes:
        pairs: how many there are.
        mean: of the differences.
        low, high: ends of the 95 % interval of the mean; None where fewer than two pairs say nothing about it.
        p: probability of a mean at least as far from 0, if the signs were chance; None without a pair.
    """

    pairs: int
    mean: float
    low: float | None
    high: float | None
    p: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval does not hold 0, and chance alone would be as far from it in 5 % of cases at most.

        Of few pairs an interval is too short; the test needs at least six.
        """
        apart = self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)
        return apart and self.p is not None and self.p <= 1.0 - CONFIDENCE


def paired_result(differences: Sequence[float]) -> PairedResult:
    """Return the mean of paired differences with its interval and test; the same figures give the same result.

    The interval is the BCa bootstrap's (Efron, 1987), the test the sign-flip test (Fisher, 1935).

    Args:
        differences: one for each pair; figures that are not finite must have been left out.

    Raises:
        EsperError: E190 if scipy is not installed.
        ValueError: without a difference, or for one that is not finite.
    """
    values = [float(value) for value in differences]
    if not values or not all(map(isfinite, values)):
        raise ValueError(f"differences must be finite numbers, at least one: {values}")
    low, high = _interval(values)
    return PairedResult(pairs=len(values), mean=fmean(values), low=low, high=high, p=sign_flip_test(values))


def sign_flip_test(differences: Sequence[float]) -> float:
    """Return the two-sided p of the mean under random signs: exact up to `EXACT_PAIRS` differences.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    values = [value for value in differences if value]  # a zero is the same under both signs
    if len(values) < 2:
        return 1.0
    found = _scipy().permutation_test(
        (values,),
        lambda x, axis: abs(x.mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_PAIRS,
        alternative="greater",
        rng=0,
    )
    return float(found.pvalue)


def _interval(values: list[float]) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    if len(set(values)) == 1:  # every resample is the same
        return values[0], values[0]
    found = _scipy().bootstrap(
        (values,),
        lambda x, axis: x.mean(axis=axis),
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=0,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _scipy() -> Any:
    try:
        from scipy import stats  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        what, why = "paired differences need scipy", "scipy is not installed"
        raise EsperError("E190", what, why=why, fix="pip install 'esper-runs[statistics]'") from error
    return stats
