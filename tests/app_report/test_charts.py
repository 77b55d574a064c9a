"""Columns, scales and curves of text charts."""

from io import BytesIO, StringIO, TextIOWrapper
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_runs.charts import Columns, Curve, Scale, level_row, line_chart
from esper_runs.terminal import Terminal

ASCII = Terminal(TextIOWrapper(BytesIO(), encoding="ascii"))
TERMINAL = Terminal(StringIO())


@given(st.integers(0, 50), st.integers(1, 500), st.integers(1, 120))
def test_columns_hold_every_epoch_once_in_order_within_the_width(first, length, width):
    columns = Columns.fit(range(first, first + length), width)
    assert [epoch for span in columns.spans for epoch in span] == list(range(first, first + length))
    assert len(columns.spans) <= width
    assert len({len(span) for span in columns.spans[:-1]}) <= 1


def test_epochs_get_a_column_each_where_there_is_room():
    assert Columns.fit(range(12), 80).epochs_per_column == 1
    assert Columns.fit(range(100), 40).epochs_per_column == 3


@given(st.integers(0, 300), st.integers(1, 500), st.integers(10, 120))
def test_the_axis_numbers_stand_below_their_columns(first, length, width):
    columns = Columns.fit(range(first, first + length), width)
    axis = columns.axis()
    assert axis.startswith(str(first + 1))
    at = 0
    for label in axis.split():
        at = axis.index(label, at)
        assert int(label) - 1 in columns.spans[at]
        at += len(label)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.integers(2, 12))
def test_a_scale_spans_its_values_and_keeps_their_order(values, height):
    scale = Scale.around(values, height)
    rows = [scale.row(value) for value in sorted(values)]
    assert rows == sorted(rows)
    assert 0 <= rows[0] <= rows[-1] <= height - 1
    if max(values) > min(values):
        assert (rows[0], rows[-1]) == (0, height - 1)
        assert scale.value(height - 1) == pytest.approx(max(values))


def test_what_spans_more_than_a_decade_is_drawn_by_ratios():
    assert Scale.around([0.1, 10.0], 3).logarithmic
    assert not Scale.around([0.5, 1.0], 3).logarithmic
    assert not Scale.around([-1.0, 100.0], 3).logarithmic
    assert Scale.around([nan, inf], 3) is None


def drawn(*curves, epochs=range(4), height=3):
    chart = line_chart(curves, Columns.fit(epochs, 80), TERMINAL, lambda value: f"{value:.1f}", height)
    return [f"{label:>4}|{drawing.plain}" for label, drawing in chart]


def test_curves_are_drawn_where_they_are():
    grown = Curve(mark="*", style="", values={0: 0.0, 1: 0.5, 2: 1.0, 3: 1.0})
    twin = Curve(mark="o", style="", values={0: 0.0, 1: 0.0, 2: 0.5})
    assert drawn(grown, twin) == [" 1.0|  **", " 0.5| *o ", " 0.0|=o  "]


def test_what_is_not_finite_is_marked_and_what_is_not_there_is_blank():
    assert drawn(Curve(mark="*", style="", values={0: 0.0, 1: nan, 3: 1.0})) == [" 1.0| ! *", " 0.5|    ", " 0.0|*   "]
    assert drawn(Curve(mark="*", style="", values={0: nan})) == []
    assert drawn(Curve(mark="*", style="", values={})) == []


def test_a_curve_that_never_changes_takes_one_row():
    assert drawn(Curve(mark="*", style="", values=dict.fromkeys(range(4), 2.0))) == [" 2.0|****"]


def test_epochs_that_share_a_column_are_averaged():
    columns = Columns.fit(range(4), 2)
    assert columns.means({0: 1.0, 1: 3.0, 3: 5.0}) == [2.0, 5.0]
    assert columns.means({2: nan, 3: 1.0}) == [None, inf]


def test_levels_go_from_the_lowest_value_to_the_highest():
    assert level_row({0: 10, 1: 15, 2: 20}, Columns.fit(range(4), 9), TERMINAL).plain == "▁▅█ "
    assert level_row({0: 7, 1: 7}, Columns.fit(range(2), 9), TERMINAL).plain == "▁▁"
    assert level_row({0: 10, 1: inf, 2: 20}, Columns.fit(range(3), 9), ASCII).plain == "_!#"
