"""Differences between pairs, such as two policies on the same random seeds, and figures over several groups.

This is the one place for intervals and tests.

scipy computes them: ``pip install esper-runs[statistics]``.
"""

from collections.abc import Sequence
from math import isfinite, sqrt
from random import Random
from statistics import fmean
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError

#: Resamples of the bootstrap; enough that the interval's ends are reproduced to a fiftieth of its length.
RESAMPLES = 9_999

#: The sign-flip test is exact up to this many pairs; above them it draws as many flips as it would count at this many.
EXACT_PAIRS = 16

CONFIDENCE = 0.95

#: Resamples of figures over several groups.
_POOLED_RESAMPLES = 1_999


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


@frozen(kw_only=True)
class PooledResult:
    """A figure over several groups, with the ends of its 95 % interval; None where the figures allow none."""

    value: float
    low: float | None
    high: float | None


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


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, in their order (Holm, 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    corrected, least = [1.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = least
    return corrected


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half (Agarwal et al., 2021, section 4.3).

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    return float(_scipy().trim_mean(list(values), 0.25))


def interquartile_mean_over(groups: Sequence[Sequence[float]]) -> PooledResult:
    """Return the interquartile mean of all figures, with the percentile interval of a bootstrap within each group.

    Args:
        groups: figures on one scale, such as those of each task; at least one of one group.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    stats, samples = _scipy(), [[float(value) for value in group] for group in groups if group]
    mean = interquartile_mean([value for group in samples for value in group])
    if not samples or any(len(group) < 2 for group in samples):
        return PooledResult(value=mean, low=None, high=None)
    random = Random(0)
    resamples = [
        [value for group in samples for value in random.choices(group, k=len(group))] for _ in range(_POOLED_RESAMPLES)
    ]
    means = sorted(map(float, stats.trim_mean(resamples, 0.25, axis=1)))
    end = round((1.0 - CONFIDENCE) / 2.0 * (len(means) - 1))
    return PooledResult(value=mean, low=means[end], high=means[-1 - end])


def probability_of_improvement(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return how probable it is that a random run of the first is above one of the second, averaged over the groups.

    That is the statistic of Mann and Whitney as a share (Agarwal et al., 2021, appendix A.2); ties count as half.

    Args:
        pairs: for each group, such as a task, the figures of both.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    stats = _scipy()
    shares = [stats.mannwhitneyu(one, other).statistic / (len(one) * len(other)) for one, other in pairs]
    return fmean(map(float, shares))


def smallest_difference(deviation: float, pairs: int, alpha: float, power: float = 0.8) -> float | None:
    """Return the true mean difference that a paired t-test finds with this power; None of fewer than two pairs.

    It stands for the tests used here, which have no closed form; the sign-flip test is about as powerful where
    differences are normally distributed.

    Args:
        deviation: standard deviation of the differences.
        pairs: how many.
        alpha: the two-sided level of the test, corrected for how many tests there are.
        power: the probability of finding it.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    if pairs < 2:
        return None
    stats, freedom = _scipy(), pairs - 1
    critical = stats.t.ppf(1.0 - alpha / 2.0, freedom)
    low, high = 0.0, 2.0 * critical + 10.0  # effect times the root of the number of pairs: the noncentrality
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if stats.nct.sf(critical, freedom, middle) < power else (low, middle)
    return float(deviation * high / sqrt(pairs))


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that the exact sign-flip test can give with this many pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


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
