"""Intervals and tests of paired differences, against slow and obvious references."""

from itertools import product
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from esper_runs.statistics import (
    holm,
    interquartile_mean,
    interquartile_mean_over,
    paired_result,
    probability_of_improvement,
    sign_flip_test,
    smallest_difference,
    smallest_p,
)

DIFFERENCES = [0.02, -0.004, 0.013, 0.007, 0.021, 0.001, 0.009]


def counted(values):
    """The p of the sign-flip test, sign by sign."""
    signs = product((1, -1), repeat=len(values))
    means = [abs(fmean(sign * value for sign, value in zip(row, values, strict=True))) for row in signs]
    return sum(mean >= abs(fmean(values)) - 1e-12 for mean in means) / len(means)


@pytest.mark.parametrize("values", [DIFFERENCES, [-it for it in DIFFERENCES], [0.1, 0.1, 0.1], [1.0, -1.0, 0.5, 0.0]])
def test_the_sign_flip_test_counts_every_sign(values):
    assert sign_flip_test(values) == pytest.approx(counted([it for it in values if it]))


def test_the_interval_is_about_that_of_the_normal_approximation_and_the_same_each_time():
    found = paired_result(DIFFERENCES)
    error = stdev(DIFFERENCES) / len(DIFFERENCES) ** 0.5
    assert found.mean == pytest.approx(fmean(DIFFERENCES))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.5 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.5 * error)
    assert found.clear
    assert found == paired_result(DIFFERENCES)
    assert not paired_result([-0.01, 0.02, 0.0, -0.02, 0.015]).clear


def test_few_pairs_say_little():
    assert (paired_result([0.1]).low, paired_result([0.1]).p) == (None, 1.0)
    same = paired_result([0.1] * 4)
    assert (same.low, same.high, same.p) == (0.1, 0.1, 0.125)
    assert paired_result([0.0, 0.0]).p == 1.0
    for values in ([], [float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            paired_result(values)


def test_holms_correction_is_its_definition_and_never_lowers_a_p():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_ps_are_in_the_order_of_the_ps(ps):
    found = holm(ps)
    assert all(one >= p for one, p in zip(found, ps, strict=True))
    ordered = [found[index] for index in sorted(range(len(ps)), key=ps.__getitem__)]
    assert ordered == sorted(ordered)


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end():
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0]) == pytest.approx(fmean([2, 3, 4, 5]))


def test_the_interval_of_pooled_figures_holds_the_mean_and_resamples_within_groups():
    groups = [[0.1, 0.2, 0.15, 0.12], [0.8, 0.9, 0.85, 0.82]]
    found = interquartile_mean_over(groups)
    assert found.low < found.value < found.high
    assert found == interquartile_mean_over(groups)
    # Each group keeps its share of the resamples, so the gap between the groups is no part of the interval.
    assert found.high - found.low < 0.5
    assert interquartile_mean_over([[0.5]]).low is None


def test_the_probability_of_improvement_counts_pairs_and_half_of_ties():
    one, other = [0.3, 0.5, 0.7], [0.4, 0.5]
    counted_ = fmean((a > b) + 0.5 * (a == b) for a in one for b in other)
    assert probability_of_improvement([(one, other)]) == pytest.approx(counted_)
    assert probability_of_improvement([(one, other), (other, one)]) == pytest.approx(0.5)


def test_the_smallest_difference_is_found_with_its_power():
    random, pairs, alpha = np.random.default_rng(0), 10, 0.05
    difference = smallest_difference(2.0, pairs, alpha)
    drawn = random.normal(difference, 2.0, size=(4000, pairs))
    statistic = drawn.mean(1) / (drawn.std(1, ddof=1) / pairs**0.5)
    found = (abs(statistic) > stats.t.ppf(1 - alpha / 2, pairs - 1)).mean()
    assert found == pytest.approx(0.8, abs=0.03)
    assert smallest_difference(2.0, 20, alpha) < difference < smallest_difference(2.0, pairs, alpha / 8)
    assert smallest_difference(2.0, 1, alpha) is None


@pytest.mark.parametrize("pairs", [2, 5, 8])
def test_the_smallest_p_is_that_of_one_sign(pairs):
    assert smallest_p(pairs) == pytest.approx(sign_flip_test([0.1 * it for it in range(1, pairs + 1)]))
