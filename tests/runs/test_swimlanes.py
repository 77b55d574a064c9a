"""Lanes: a bar for each stage of a seed, alpha as a line, and a mark for each transition."""

import re

import pytest

from esper_core.leyline.stages import Stage
from esper_runs.curves import epoch_table
from esper_runs.html.markup import tree
from esper_runs.html.swimlanes import swimlanes
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record


def elements(nodes, name):
    for node in nodes:
        if not isinstance(node, str):
            if node[0] == name:
                yield node
            yield from elements(node[2], name)


@pytest.fixture
def record(make_run):
    return read_run_record(RunDirectory(make_run().short_life().write()))


def drawn(record):
    return tree(swimlanes(record, "grown", record.epochs["grown"]))


def test_alpha_is_drawn_from_0_to_1_where_a_seed_is_blended_in(record):
    paths = [node[1] for node in elements(drawn(record), "path") if node[1].get("class") == "alpha"]
    (path,) = paths  # the seed in `b` was culled before it was blended in
    places = [tuple(map(float, it.split())) for it in re.split("[ML]", path["d"])[1:]]
    base, height = places[0][1], 32
    # alpha is 0.25 and 0.75 at the ends of epochs 4 and 5, and 1 from then on
    assert [(base - y) / height for _, y in places] == [0, 0.25, 0.75, *[1.0] * 5]
    epoch = 712 / 10
    assert [round((x - 4) / epoch) for x, _ in places] == list(range(3, 11))


def test_every_bar_has_its_word_and_says_its_alpha(record):
    rects = {node[2][0][2][0]: node[1]["class"] for node in elements(drawn(record), "rect") if node[2]}
    assert rects["a-0 (conv-light): BLENDING, epochs 4 to 5, alpha 0.75 at its end"] == "stage-blending"
    assert rects["b-0 (conv-light): TRAINING, epochs 4 to 6"] == "stage-training"
    assert rects["DORMANT, epochs 1 to 2"] == "stage-dormant"
    words = [node[2][0] for node in elements(drawn(record), "text") if "word" in node[1]["class"]]
    assert {"conv-light", "BLENDING", "FOSSILIZED"} <= set(words)


def test_a_long_run_is_drawn_in_a_bounded_number_of_columns(make_run):
    files = make_run()
    for epoch in range(3000):
        stage = Stage.DORMANT if epoch % 2 else Stage.CULLED
        files.epoch(epoch, {"a": stage})
    record = read_run_record(RunDirectory(files.write()))
    found = drawn(record)
    assert len([*elements(found, "rect")]) <= 710
    assert "5 epochs share a column, which shows the last of them." in str(found)


def test_the_table_of_epochs_has_alphas(record):
    shown = epoch_table("grown", record.epochs["grown"], record.epochs["twin"])
    assert shown.columns[-1].title == "alpha: a"
    assert [row[-1] for row in shown.texts] == ["-"] * 2 + ["0.00", "0.25", "0.75"] + ["1.00"] * 5
