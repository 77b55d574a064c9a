"""Intervals and tests of paired differences, against slow and obvious references."""

from itertools import product
from statistics import fmean, stdev

import pytest

from esper_runs.statistics import paired_result, sign_flip_test

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
