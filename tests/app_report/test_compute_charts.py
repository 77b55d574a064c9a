"""Charts against compute: host, twin and control where each has spent as much."""

import re

import pytest

from esper_app_report.html.charts import Course, course_chart
from esper_app_report.html.figures import at_equal_compute
from esper_runs.curves import against_compute, compute_table, spent


def epochs(count, each, loss=1.0):
    return [
        {
            "epoch": epoch,
            "validation": {"loss": loss / (epoch + 1), "accuracy": 0.5},
            "compute": {"training": each * (epoch + 1), "candidates": 0, "evaluation": 1},
        }
        for epoch in range(count)
    ]


def drawn(hosts, **more):
    return "".join(str(part) for part in at_equal_compute("grown", hosts, **more))


def places(html, style):
    """Where the points of the lines in a style are, from the left."""
    return [
        [float(x) for x in re.findall(r"[ML]([\d.]+) ", path)]
        for path in re.findall(rf'd="([^"]*)" class="line {style}"', html)
    ]


def test_all_operations_count():
    assert spent({"compute": {"training": 3, "candidates": 2, "probes": 0}}) == 5
    assert spent({"compute": {"training": 3, "candidates": None}}) is None
    assert spent({}) is None
    assert against_compute(epochs(2, 10), "validation", "loss") == [(11, 1.0), (21, 0.5)]


def test_control_and_host_end_where_they_have_spent_as_much_and_the_twin_before():
    html = drawn({"grown": epochs(4, 20), "twin": epochs(4, 10), "control": epochs(8, 10)})
    for grown, twin, control in zip(*(places(html, style) for style in ("grown", "twin", "control")), strict=True):
        assert (len(grown), len(twin), len(control)) == (4, 4, 8)
        assert grown[-1] == control[-1] > twin[-1]
        assert grown[0] == twin[1] == control[1]
    assert html.count("<figure") == 2
    assert html.count("against compute") >= 2


@pytest.mark.parametrize(
    "hosts",
    [
        {"grown": epochs(3, 10)},
        {"grown": epochs(3, 10), "twin": [], "control": []},
        {"grown": [{**data, "compute": {"training": None}} for data in epochs(3, 10)], "twin": epochs(3, 10)},
        {"grown": epochs(3, 10), "twin": [{**data, "compute": {}} for data in epochs(3, 10)]},
    ],
)
def test_nothing_is_drawn_where_there_is_nothing_to_compare(hosts):
    assert drawn(hosts) == ""


def test_titles_name_one_of_several_hosts():
    assert "grown: validation loss" in drawn({"grown": epochs(3, 20), "twin": epochs(3, 10)}, several=True)


def test_the_table_has_every_epoch_of_each():
    table = compute_table({"grown": epochs(2, 10), "control": epochs(3, 10)})
    assert [row[:3] for row in table.rows] == [
        ("grown", "1", "11 FLOP"),
        ("grown", "2", "21 FLOP"),
        ("control", "1", "11 FLOP"),
        ("control", "2", "21 FLOP"),
        ("control", "3", "31 FLOP"),
    ]


def test_long_lines_are_thinned_and_keep_their_ends():
    points = [(float(x), 1.0 / (x + 1)) for x in range(5000)]
    html = str(course_chart("t", [Course(title="a", style="grown", points=points)], str, str, "x"))
    assert len(re.findall(r"[ML]([\d.]+) ", html.split('class="line grown"')[0].rsplit('d="', 1)[1])) <= 402


def test_where_nothing_is_finite_a_sentence_says_so():
    assert "Nothing can be drawn" in str(
        course_chart("t", [Course(title="a", style="grown", points=[])], str, str, "x")
    )
