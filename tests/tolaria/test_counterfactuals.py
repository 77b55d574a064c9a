"""Subsets of seeds and their pairwise interactions."""

from array import array
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_core.tolaria.counterfactuals import interactions, subset_settings

SLOTS = ("a", "b", "c")


def subsets(slots=SLOTS):
    return [frozenset(s) for s in chain.from_iterable(combinations(slots, n) for n in range(len(slots) + 1))]


def effects(saved):
    """Losses of two samples per subset: 2 and 3 nats, less what `saved` says that the subset saves."""
    return {subset: array("d", [2.0 - saved(subset), 3.0 - saved(subset)]) for subset in subsets()}


def test_each_subset_has_the_setting_that_switches_the_others_off():
    settings = subset_settings(SLOTS)
    assert list(settings) == subsets()
    assert settings[frozenset(SLOTS)] == {}
    assert settings[frozenset("b")] == {"a": 0.0, "c": 0.0}
    assert settings[frozenset()] == dict.fromkeys(SLOTS, 0.0)


def test_no_slots_have_one_subset():
    assert subset_settings([]) == {frozenset(): {}}


def test_seeds_whose_effects_add_up_do_not_interact():
    for pair in interactions(effects(lambda s: 0.1 * len(s))).values():
        assert pair.mean == pytest.approx(0.0, abs=1e-12)
        assert pair.count == 2


@pytest.mark.parametrize("present", [True, False], ids=["seeds that act", "seeds that are switched off"])
def test_the_sign_tells_seeds_that_stand_in_for_each_other_from_those_that_need_each_other(present):
    """Either frame: a and b do the same thing, b and c do something only together, a and c have nothing to do."""

    def saved(subset):
        acting = subset if present else frozenset(SLOTS) - subset
        return 0.5 * bool(acting & {"a", "b"}) + 0.25 * (acting >= {"b", "c"})

    found = {pair: difference.mean for pair, difference in interactions(effects(saved)).items()}
    assert found == {("a", "b"): 0.5, ("a", "c"): 0.0, ("b", "c"): -0.25}


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=8))
def test_interactions_follow_the_formula(values):
    loss = dict(zip(subsets(), values, strict=True))
    found = interactions({subset: array("d", [value, value + 1]) for subset, value in loss.items()})
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    for (i, j), difference in found.items():
        expected = loss[frozenset((i, j))] - loss[frozenset(i)] - loss[frozenset(j)] + loss[frozenset()]
        assert difference.mean == pytest.approx(expected, abs=1e-9)


def test_samples_are_paired():
    """Every sample has the same interaction, so its error is zero however far apart the samples' losses are."""
    losses = {subset: array("d", [base + 0.5 * (len(subset) == 2) for base in (0.0, 9.0)]) for subset in subsets()}
    assert all(pair.mean == 0.5 and pair.standard_error == 0.0 for pair in interactions(losses).values())


def test_a_missing_set_is_an_error():
    losses = effects(len)
    del losses[frozenset("a")]
    with pytest.raises(KeyError):
        interactions(losses)
