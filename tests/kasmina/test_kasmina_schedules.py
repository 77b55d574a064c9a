from itertools import pairwise
from math import cos, exp, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_core.kasmina.schedules import alpha_at, restarted_cosine, warmup_cosine
from esper_core.leyline.stages import Blend

blends = pytest.mark.parametrize("blend", list(Blend))
numbers = st.floats(allow_nan=False)
shares = st.floats(0.0, 1.0)
lengths = st.integers(1, 500)


@blends
@given(outside=numbers)
def test_alpha_is_exact_at_and_beyond_its_ends(blend: Blend, outside: float) -> None:
    assert alpha_at(blend, -abs(outside)) == 0.0
    assert alpha_at(blend, 1.0 + abs(outside)) == 1.0


@blends
@given(one=shares, other=shares)
def test_alpha_never_falls(blend: Blend, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0.0 <= alpha_at(blend, early) <= alpha_at(blend, late) <= 1.0


@blends
@given(progress=shares)
def test_alpha_is_symmetrical(blend: Blend, progress: float) -> None:
    assert alpha_at(blend, progress) + alpha_at(blend, 1.0 - progress) == pytest.approx(1.0, abs=1e-12)


@blends
def test_alpha_has_no_jump_at_its_ends(blend: Blend) -> None:
    assert alpha_at(blend, 1e-6) < 1e-5
    assert alpha_at(blend, 1 - 1e-6) > 1 - 1e-5


@blends
def test_alpha_rises_everywhere(blend: Blend) -> None:
    values = [alpha_at(blend, i / 100) for i in range(101)]
    assert all(a < b for a, b in pairwise(values))


@given(progress=shares)
def test_the_sigmoid_is_the_normalised_logistic_function(progress: float) -> None:
    def logistic(p: float) -> float:
        return 1 / (1 + exp(-12 * (p - 0.5)))

    expected = (logistic(progress) - logistic(0)) / (logistic(1) - logistic(0))
    assert alpha_at(Blend.SIGMOID, progress) == pytest.approx(expected, abs=1e-12)


def test_the_curves_are_told_apart() -> None:
    assert alpha_at(Blend.LINEAR, 0.25) == 0.25
    assert alpha_at(Blend.COSINE, 0.25) == pytest.approx((1 - cos(pi / 4)) / 2)
    assert alpha_at(Blend.SIGMOID, 0.25) < alpha_at(Blend.COSINE, 0.25) < 0.25


@blends
def test_an_unknown_progress_is_refused(blend: Blend) -> None:
    with pytest.raises(ValueError, match="NaN"):
        alpha_at(blend, float("nan"))


@given(total=lengths, warmup=st.integers(0, 500))
def test_the_warm_up_rises_and_the_cosine_falls(total: int, warmup: int) -> None:
    factors = [warmup_cosine(step, total, warmup) for step in range(total + 2)]
    rising, falling = factors[: min(warmup, total)], factors[min(warmup, total) :]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert 0.0 < factors[0] <= 1.0
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert factors[total:] == [0.0, 0.0]


@given(total=st.integers(2, 500), data=st.data())
def test_the_warm_up_ends_at_one(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    assert warmup_cosine(warmup, total, warmup) == 1.0


def test_warmup_cosine_by_hand() -> None:
    expected = [1 / 3, 2 / 3, 1.0, (1 + cos(pi / 4)) / 2, 0.5, (1 + cos(3 * pi / 4)) / 2, 0.0]
    assert [warmup_cosine(step, 6, 2) for step in range(7)] == pytest.approx(expected)


@pytest.mark.parametrize("arguments", [(-1, 10, 0), (0, -1, 0), (0, 10, -1)])
def test_negative_times_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no step of a schedule"):
        warmup_cosine(*arguments)


@given(total=lengths, data=st.data())
def test_a_seed_has_a_whole_cosine_of_its_own(total: int, data: st.DataObject) -> None:
    germinated = data.draw(st.integers(0, total - 1))
    factors = [restarted_cosine(step, germinated, total) for step in range(germinated, total + 1)]
    assert factors[0] == 1.0
    assert factors[-1] == 0.0
    assert factors == [warmup_cosine(step, total - germinated) for step in range(total - germinated + 1)]


def test_a_seed_born_when_the_run_is_over_does_not_move() -> None:
    assert restarted_cosine(10, 10, 10) == 0.0
    assert restarted_cosine(12, 11, 10) == 0.0


def test_a_seed_has_no_factor_before_its_birth() -> None:
    with pytest.raises(ValueError, match="no step of a schedule"):
        restarted_cosine(3, 4, 10)
