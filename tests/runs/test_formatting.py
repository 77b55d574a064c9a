import pytest

from esper_runs.formatting import (
    as_number,
    duration,
    evidence_in_words,
    flops,
    loss,
    metrics,
    paired,
    percent,
    points,
    size,
    whole,
)
from esper_runs.tables import table


@pytest.mark.parametrize("write", [percent, points, loss, whole, flops, duration, paired])
def test_absence_is_a_dash(write):
    assert write(None) == "-"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.9375), "93.8 %"),
        (points(-0.014), "-1.4 points"),
        (points(0.0001), "+0.01 points"),
        (points(-0.00001), "0.0 points"),
        (points(-0.0), "0.0 points"),
        (percent(-0.0), "0.0 %"),
        (loss(0.00042), "0.00042"),
        (loss(-0.0, signed=True), "0.000"),
        (whole(-0.4, signed=True), "0"),
        (loss(0.5), "0.500"),
        (whole(1182), "1,182"),
        (whole(744, signed=True), "+744"),
        (whole(float("inf")), "inf"),
        (flops(999), "999 FLOP"),
        (flops(23_200, signed=True), "+23.2 kFLOP"),
        (flops(2.5e12), "2.5 TFLOP"),
        (size(999), "999 B"),
        (size(1_500_000), "1.5 MB"),
        (duration(90), "90.0 s"),
        (duration(5400), "90.0 min"),
        (duration(86400), "24.0 h"),
        (duration(864000), "10.0 days"),
        (paired({"mean": 0.05, "standard_error": 0.01}), "+0.050 ± 0.010"),
        (paired({"mean": 0.00212, "standard_error": 0.00072}), "+0.002 ± 0.001"),
        (paired({"mean": 0.00421, "standard_error": 0.00012}), "+0.00421 ± 0.00012"),
        (paired({"mean": -0.0001, "standard_error": 0.01}), "0.000 ± 0.010"),
        (paired({"mean": 2e-12, "standard_error": 1e-12}), "+2e-12 ± 1e-12"),
        (paired({"mean": "NaN", "standard_error": "Infinity"}), "NaN ± inf"),
    ],
)
def test_figures_in_words(written, expected):
    assert written == expected


@pytest.mark.parametrize(("value", "number"), [("NaN", "nan"), ("-Infinity", "-inf"), (1, "1.0"), ("text", "None")])
def test_numbers_of_json_files(value, number):
    assert str(as_number(value)) == number


def test_evidence_joins_a_difference_with_its_error():
    evidence = {
        "contribution_nats": 0.25,
        "contribution_standard_error": 0.125,
        "contribution_samples": 359,
        "contribution_lower_bound_0.95": 0.04437,
        "ready": True,
        "probe_error": "",
        "source_error": None,
        "settled_epochs": 3,
    }
    assert evidence_in_words(evidence) == (
        "contribution = +0.2500 ± 0.1250 nats (359 samples), contribution lower bound 0.95 = 0.04437, ready = yes, "
        "probe error = none, source error = -, settled epochs = 3"
    )


def test_evidence_of_foreign_gates_is_told_as_it_is():
    evidence = {"gain_nats": 0.5, "gain_standard_error": None, "odd_nats": 1.0, "none_nats": None}
    assert evidence_in_words(evidence) == "gain = +0.5000 ± - nats, odd nats = 1, none nats = -"


def test_columns_of_numbers_are_aligned_to_the_right():
    assert table(("a", "b"), [("x", "1"), ("yy", "22")], right=(1,)) == "a    b\nx    1\nyy  22"


@pytest.mark.parametrize(
    ("split", "written"),
    [
        ({"accuracy": 0.9, "loss": 0.5}, "90.0 % (0.500)"),
        ({"accuracy": "NaN", "loss": 0.5}, "loss 0.500"),
        ({"accuracy": float("nan"), "loss": float("nan")}, "loss NaN"),
        ({"accuracy": None, "loss": 0.5}, "loss 0.500"),
        ({"accuracy": 0.9, "loss": "NaN", "samples": 0}, "90.0 %"),
        ({"accuracy": "NaN", "loss": "NaN", "samples": 0}, "-"),
        ({"accuracy": 0.9, "loss": "NaN", "samples": 7}, "90.0 % (NaN)"),
        (None, "-"),
    ],
)
def test_an_epoch_without_an_accuracy_shows_its_loss(split, written):
    assert metrics(split) == written
