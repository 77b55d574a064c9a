"""The front is what no other network beats."""

from hypothesis import given
from hypothesis import strategies as st

from esper_runs.pareto import pareto_front


def test_the_front_goes_from_the_smallest_to_the_best():
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.8), (4, 0.9)]) == (1, 3, 0)


def test_equal_networks_are_all_on_it():
    assert set(pareto_front([(1, 0.5), (1, 0.5)])) == {0, 1}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_it_is_what_no_other_one_dominates(points):
    def beaten(one):
        return any(two != one and two[0] <= one[0] and two[1] >= one[1] for two in points)

    assert set(pareto_front(points)) == {i for i, point in enumerate(points) if not beaten(point)}
