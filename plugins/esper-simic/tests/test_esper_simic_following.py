"""Judging a policy that was swapped in, on the seeds of the one before it."""

from math import nan

import pytest

from esper_simic.following import EPISODES, STANDARD_ERRORS, compared

BEFORE = {(place, "grown"): float(place % 3) for place in range(EPISODES)}


def shifted(*differences):
    return {key: value + differences[index % len(differences)] for index, (key, value) in enumerate(BEFORE.items())}


def test_fewer_episodes_than_eight_say_nothing():
    fewer = dict([*shifted(-9.0, -8.0).items()][:-1])
    assert len(fewer) == 7
    assert compared(BEFORE, fewer) is None
    assert compared(BEFORE, {("elsewhere", "grown"): 0.0}) is None


def test_it_is_worse_only_by_more_than_two_standard_errors():
    worse = compared(BEFORE, shifted(-1.0, -0.5))
    assert (worse.episodes, worse.difference) == (8, -0.75)
    assert worse.error == pytest.approx(0.0945, abs=1e-3)
    assert worse.worse
    unclear = compared(BEFORE, shifted(-1.0, 0.8))
    assert unclear.difference < 0.0
    assert -unclear.difference < STANDARD_ERRORS * unclear.error
    assert not unclear.worse
    assert not compared(BEFORE, shifted(0.5, 0.1)).worse
    assert not compared(BEFORE, BEFORE).worse


def test_a_constant_loss_is_worse_and_so_is_what_is_no_number():
    assert compared(BEFORE, shifted(-0.1)).worse
    assert compared(BEFORE, shifted(nan)).worse
