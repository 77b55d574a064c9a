"""The one rule for the verdict on a run, and that its words never say anything else."""

from math import inf, isfinite, nan, sqrt
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from esper_runs.comparison import comparison
from esper_runs.measures import Direction, Measure
from esper_runs.tables import Cell
from esper_runs.verdict import Judgement, RunVerdict, verdict
from esper_runs.verdict_text import verdict_in_words

KEPT = {"final_stage": "FOSSILIZED", "ablation": {"mean": 0.4, "standard_error": 0.02}}
CULLED = {"final_stage": "CULLED", "ablation": {"mean": 0.4, "standard_error": 0.02}}
IN_TRAINING = {"final_stage": "TRAINING", "ablation": None}


KEYS = {"control": "compute_difference", "twin": "difference"}


def result(
    accuracies: tuple[Any, Any] = (0.95, 0.9),
    gain: tuple[Any, Any] | None = (0.1, 0.01),
    *,
    samples: int = 1000,
    seeds: Any = (KEPT,),
    losses: tuple[Any, Any] = (0.2, 0.3),
    against: str = "control",
    **changes: Any,
) -> dict[str, Any]:
    """A result as a run writes it: of a grown network and one that never grew, with the paired gain."""
    grown, other = (
        {"test_accuracy": accuracy, "test_loss": loss, "test_samples": samples, "parameters": size}
        for accuracy, loss, size in zip(accuracies, losses, (1182, 438), strict=True)
    )
    paired = None if gain is None else {"mean": gain[0], "standard_error": gain[1], "count": samples}
    return {
        "task": "digits",
        "outcome": "completed",
        "test_share_of": {"unit": "samples", "count": samples},
        "hosts": {"grown": grown, against: other},
        KEYS[against]: {
            "test_accuracy": None if None in accuracies else accuracies[0] - accuracies[1],
            "test_loss": None if None in losses else losses[0] - losses[1],
            "parameters": 744,
            "test_gain": paired,
        },
        "seeds": None if seeds is None else list(seeds),
    } | changes


def words(*args: Any, **changes: Any) -> str:
    return verdict_in_words(verdict(result(*args, **changes)))


# The rule: clear differences decide.


@pytest.mark.parametrize(
    ("accuracies", "gain", "judgement"),
    [
        ((0.95, 0.90), (0.10, 0.01), Judgement.PAID),
        ((0.95, 0.90), (0.10, 0.06), Judgement.PAID),
        ((0.95, 0.90), None, Judgement.PAID),
        ((0.90, 0.90), (0.10, 0.01), Judgement.PAID),
        ((0.91, 0.90), (0.10, 0.01), Judgement.PAID),
        ((0.89, 0.90), (0.10, 0.01), Judgement.PAID),
        ((0.90, 0.95), (-0.10, 0.01), Judgement.DID_NOT_PAY),
        ((0.90, 0.90), (-0.10, 0.01), Judgement.DID_NOT_PAY),
        ((0.90, 0.95), (0.10, 0.06), Judgement.DID_NOT_PAY),
        ((0.95, 0.90), (-0.10, 0.01), Judgement.MIXED),
        ((0.90, 0.95), (0.10, 0.01), Judgement.MIXED),
        ((0.91, 0.90), (0.10, 0.06), Judgement.NO_CLEAR_DIFFERENCE),
        ((0.90, 0.90), (0.10, 0.06), Judgement.NO_CLEAR_DIFFERENCE),
        ((0.91, 0.90), None, Judgement.NO_CLEAR_DIFFERENCE),
        ((0.91, 0.90), (0.10, inf), Judgement.NO_CLEAR_DIFFERENCE),
        ((0.90, 0.90), None, Judgement.NO_CLEAR_DIFFERENCE),
        ((0.90, 0.90), (0.0, 0.01), Judgement.NO_CLEAR_DIFFERENCE),
        ((0.91, 0.90), (0.0, 0.0), Judgement.NO_CLEAR_DIFFERENCE),
        ((0.90, 0.90), (0.0, 0.0), Judgement.NO_DIFFERENCE),
        ((None, None), (0.10, 0.01), Judgement.PAID),
        ((None, None), (-0.10, 0.01), Judgement.DID_NOT_PAY),
        ((None, None), (0.10, 0.06), Judgement.NO_CLEAR_DIFFERENCE),
        ((None, None), (0.0, 0.0), Judgement.NO_DIFFERENCE),
        ((None, None), None, Judgement.NO_COMPARISON),
    ],
)
def test_clear_differences_decide(accuracies, gain, judgement):
    assert verdict(result(accuracies, gain)).judgement is judgement


def test_one_bar_holds_for_all_gains():
    """Twice the standard error, however large or small the gain is."""
    for gain in (5e-6, 0.005, 0.038, 3.0):
        assert verdict(result((0.9, 0.9), (gain, gain / 2.1))).judgement is Judgement.PAID
        assert verdict(result((0.9, 0.9), (gain, gain / 1.9))).judgement is Judgement.NO_CLEAR_DIFFERENCE


def test_the_error_of_an_accuracy_counts_each_sample_once():
    share = {"unit": "positions", "count": 128_000}
    judged = verdict(result((0.52, 0.5), None, samples=1000, test_share_of=share))
    assert judged.accuracy.standard_error == pytest.approx(sqrt((0.52 * 0.48 + 0.25) / 1000))
    assert judged.accuracy.direction is Direction.UNCLEAR
    assert (judged.answers, judged.asked, judged.unit) == (2560, 128_000, "positions")


@pytest.mark.parametrize(
    ("seeds", "accuracies", "gain", "judgement"),
    [
        ([], (0.95, 0.9), (0.1, 0.01), Judgement.NOTHING_GREW),
        ([], (0.9, 0.95), (-0.1, 0.01), Judgement.NOTHING_GREW),
        ([CULLED], (0.95, 0.9), (0.1, 0.01), Judgement.NOTHING_GREW),
        ([CULLED], (0.9, 0.9), (0.0, 0.0), Judgement.NOTHING_GREW),
        ([IN_TRAINING], (0.95, 0.9), (0.1, 0.01), Judgement.NOTHING_GREW),
        ([CULLED], (0.1, 0.9), (-2.1, 0.01), Judgement.DID_NOT_PAY),
        ([CULLED, KEPT], (0.95, 0.9), (0.1, 0.01), Judgement.PAID),
        ([{"final_stage": "BLENDING"}], (0.95, 0.9), (0.1, 0.01), Judgement.PAID),
        (None, (0.95, 0.9), (0.1, 0.01), Judgement.PAID),
    ],
)
def test_what_no_seed_is_part_of_cannot_have_paid(seeds, accuracies, gain, judgement):
    assert verdict(result(accuracies, gain, seeds=seeds)).judgement is judgement


@pytest.mark.parametrize("broken", [nan, inf, -inf, "NaN", "Infinity", "-Infinity"])
def test_a_network_that_diverged_is_called_so(broken):
    lost = result((0.1, 0.9), (nan, nan), losses=(float(broken), 0.3))
    assert verdict(lost).judgement is Judgement.DIVERGED
    assert verdict_in_words(verdict(lost)).startswith("The grown network diverged: its test loss or accuracy is not a")
    control = result((0.9, 0.1), (nan, nan), losses=(0.3, float(broken)))
    assert verdict(control).judgement is Judgement.NO_COMPARISON
    assert verdict_in_words(verdict(control)).startswith("The control diverged:")
    both = result((0.1, 0.1), (nan, nan), losses=(float(broken), float(broken)))
    assert verdict_in_words(verdict(both)).endswith("The control diverged as well.")


def test_a_difference_that_is_not_finite_is_not_judged_by_the_other_measure():
    unexplained = result((0.1, 0.9), (nan, nan), against="twin") | {"hosts": {}}
    assert verdict(unexplained).judgement is Judgement.NO_COMPARISON
    assert "is not a finite number" in verdict_in_words(verdict(unexplained))


def test_without_one_host_beside_a_twin_there_is_no_comparison():
    alone = result(compute_difference=None)
    alone["hosts"].pop("control")
    assert "There is no twin to compare with" in verdict_in_words(verdict(alone))
    two = result(against="twin", difference=None)
    two["hosts"]["grown-1"] = two["hosts"]["grown"] | {"test_loss": nan}
    said = verdict_in_words(verdict(two))
    assert "2 hosts grew, and only one can be compared with the twin" in said
    assert said.endswith("Diverged: grown-1.")


def test_an_empty_result_is_no_comparison():
    assert verdict({}).judgement is Judgement.NO_COMPARISON
    assert verdict_in_words(verdict({})) == (
        "There is no twin to compare with, so this run does not show whether growing paid."
    )


# The words, frozen.


COST = "The network has 744 more parameters than its control."
FROZEN = [
    (
        result((0.98056, 0.96667), (0.034, 0.018), samples=360),
        "Growing made no clear difference at equal compute: "
        "+1.4 points of test accuracy (5 of 360 test samples) and a gain in loss of "
        f"+0.034 ± 0.018 nats; both may be chance. {COST} It depends on its seeds (without them its loss is higher), "
        "and is not clearly better than its control.",
    ),
    (
        result((0.95, 0.9), (0.1, 0.01), samples=10_000),
        "Growing paid at equal compute: "
        "+5.0 points of test accuracy (500 of 10,000 test samples) and a gain in loss of +0.100 ± 0.010 "
        f"nats; both are more than chance. {COST}",
    ),
    (
        result((0.9, 0.95), (-0.0005, 0.0001), seeds=[CULLED]),
        "No seed was kept. Growing did not pay at equal compute: "
        "-5.0 points of test accuracy (50 of 1,000 test samples) and a gain in "
        "loss of -0.00050 ± 0.00010 nats; both are more than chance.",
    ),
    (
        result((0.95, 0.9), (-0.1, 0.01)),
        "Growing had mixed effects at equal compute: "
        "+5.0 points of test accuracy (50 of 1,000 test samples) and a gain in loss of "
        f"-0.100 ± 0.010 nats; both are more than chance. {COST}",
    ),
    (
        result((0.91, 0.9), (0.1, 0.01)),
        "Growing paid at equal compute: "
        "+1.0 points of test accuracy (10 of 1,000 test samples), which may be chance, and a gain in "
        f"loss of +0.100 ± 0.010 nats, which is more than chance. {COST}",
    ),
    (
        result((0.9, 0.9), (0.0, 0.0), seeds=[]),
        "No seed was germinated. There is no growth to judge: the same test accuracy and the same loss on every test "
        "sample.",
    ),
    (
        result((0.92, 0.9), (0.05, 0.01), seeds=[IN_TRAINING]),
        "No seed has become part of the network yet. There is no growth to judge: +2.0 points of test accuracy (20 of "
        "1,000 test samples), which may be chance, and a gain in loss of +0.050 ± 0.010 nats, which is more than "
        "chance.",
    ),
    (
        result((None, None), (0.05, inf), outcome="stopped"),
        "The governor stopped the run. Growing made no clear difference at equal compute: "
        "a gain in loss of +0.050 nats, whose standard "
        f"error is not known. {COST} It depends on its seeds (without them its loss is higher), and is not clearly "
        "better than its control.",
    ),
]


BOTH = result((0.95, 0.9), (0.1, 0.01), samples=10_000) | {
    "difference": {"test_accuracy": 0.07, "test_gain": {"mean": 0.2, "standard_error": 0.01}}
}
BOTH["hosts"] = {
    "grown": BOTH["hosts"]["grown"] | {"compute": {"training": 8e8, "candidates": 1e8, "total": 1.5e9}},
    "twin": BOTH["hosts"]["control"] | {"test_accuracy": 0.88},
    "control": BOTH["hosts"]["control"]
    | {"epochs": 64, "compute": {"training": 1.2e9, "candidates": 0, "total": 1.6e9}},
}


def test_each_sentence_says_which_control_it_is_about():
    assert verdict_in_words(verdict(BOTH)) == (
        "Growing paid at equal compute: +5.0 points of test accuracy (500 of 10,000 test samples) and a gain in loss "
        "of +0.100 ± 0.010 nats; both are more than chance. Growing took 1.5 GFLOP, 900.0 MFLOP of it to train the "
        "network and its seeds; the control, which never grew, took 1.6 GFLOP, 1.2 GFLOP of it for training, in 64 "
        "epochs. At equal epochs the grown network is better: +7.0 points of test accuracy (700 of 10,000 test "
        f"samples) and a gain in loss of +0.200 ± 0.010 nats; both are more than chance. {COST} This is one run: other "
        "random seeds give other differences."
    )


def test_equal_epochs_alone_never_say_that_growing_paid():
    said = words(against="twin")
    assert said.startswith("At equal epochs the grown network is better: ")
    assert "whether growing paid at equal compute was not measured" in said
    assert "paid at equal compute:" not in said


def test_a_control_that_diverged_leaves_the_comparison_at_equal_epochs():
    broken = BOTH | {"hosts": {**BOTH["hosts"], "control": {"test_loss": nan, "test_accuracy": 0.1}}}
    said = verdict_in_words(verdict(broken))
    assert said.startswith("The control diverged: ")
    assert "At equal epochs the grown network is better: " in said


def test_the_table_stands_beside_both():
    table = comparison(BOTH)
    assert [column.title for column in table.columns][1:] == [
        "twin",
        "control",
        "grown",
        "to the twin",
        "to the control",
    ]
    rows = {row[0]: [cell.text if isinstance(cell, Cell) else cell for cell in row[1:]] for row in table.rows}
    assert rows["test accuracy"] == ["88.0 %", "90.0 %", "95.0 %", "+7.0 points", "+5.0 points"]
    assert rows["all compute"] == ["-", "1.6 GFLOP", "1.5 GFLOP", "-", "-100.0 MFLOP"]
    assert rows["training compute"] == ["-", "1.2 GFLOP", "900.0 MFLOP", "-", "-300.0 MFLOP"]


@pytest.mark.parametrize(("told", "expected"), FROZEN)
def test_words_of_verdicts(told, expected):
    assert verdict_in_words(verdict(told)) == f"{expected} This is one run: other random seeds give other differences."


def test_rollbacks_are_told():
    rolled = result()
    rolled["hosts"]["grown"]["rollbacks"] = [{"attempt": 1}, {"attempt": 2}]
    rolled["hosts"]["control"]["rollbacks"] = [{"attempt": 1}]
    told = verdict(rolled)
    assert told.rollbacks == {"grown": 2, "control": 1}
    text = verdict_in_words(told)
    assert text.startswith("The network was rolled back to an earlier state 2 times. The control was rolled back")
    assert "to an earlier state once. Growing paid" in text
    rolled["hosts"]["grown"]["rollbacks"] = 3
    assert verdict(rolled).rollbacks == {"control": 1}
    assert "rolled back" not in words()


def test_a_run_that_ended_early_says_so_first():
    assert words(outcome="interrupted").startswith("The run was interrupted. Growing paid at equal compute: ")
    assert words(outcome="stopped").startswith("The governor stopped the run. Growing paid at equal compute: ")


@pytest.mark.parametrize(
    ("added", "said"),
    [(744, "744 more parameters than"), (-1, "1 fewer parameter than"), (0, "as many parameters as"), (nan, None)],
)
def test_the_cost_is_said_in_parameters(added, said):
    changed = result()
    changed["compute_difference"]["parameters"] = added
    told = verdict_in_words(verdict(changed))
    assert (said in told) if said else ("parameter" not in told)


# No words against the figures, whatever the figures are.

numbers = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e-9, "NaN", "Infinity"]))
shares = st.one_of(numbers, st.floats(0, 1))
stages = st.sampled_from(["FOSSILIZED", "CULLED", "TRAINING", "BLENDING", "PROBATIONARY", "OF_TOMORROW", None])
differences = st.one_of(st.none(), st.fixed_dictionaries({"mean": numbers, "standard_error": numbers}))
hosts = st.fixed_dictionaries(
    {"test_accuracy": shares, "test_loss": numbers, "test_samples": st.sampled_from([None, 0, 1, 360, 10_000])}
)
found = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"test_accuracy": shares, "test_loss": numbers, "parameters": numbers, "test_gain": differences}
    ),
)
results = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from(["completed", "interrupted", "stopped", "of-tomorrow"]),
        "hosts": st.dictionaries(st.sampled_from(["grown", "twin", "control", "grown-1"]), hosts),
        "difference": found,
        "compute_difference": found,
        "test_share_of": st.one_of(st.none(), st.just({"unit": "samples", "count": 360})),
        "seeds": st.one_of(
            st.none(), st.lists(st.fixed_dictionaries({"final_stage": stages, "ablation": differences}), max_size=3)
        ),
    }
)

CLEAR = {Direction.BETTER, Direction.WORSE}


@given(results)
def test_only_a_control_of_equal_compute_can_say_whether_growing_paid(told):
    judged = verdict(told)
    assert (judged.against == "control") == ("control" in told["hosts"])
    if judged.judgement in (Judgement.PAID, Judgement.DID_NOT_PAY):
        assert judged.against == "control"
    if judged.judgement in (Judgement.BETTER, Judgement.WORSE):
        assert judged.against == "twin"
    beside = judged.at_equal_epochs
    assert (beside is not None) == {"control", "twin"}.issubset(told["hosts"])
    assert beside is None or (beside.against == "twin" and beside.at_equal_epochs is None)


@given(results)
def test_fields_never_contradict_each_other(told):
    judged = verdict(told)
    directions = {judged.accuracy.direction, judged.loss.direction}
    better, worse = Direction.BETTER in directions, Direction.WORSE in directions
    match judged.judgement:
        case Judgement.PAID | Judgement.BETTER:
            assert better
            assert not worse
            assert judged.germinated is None or judged.kept > 0
        case Judgement.DID_NOT_PAY | Judgement.WORSE:
            assert worse
            assert not better
        case Judgement.MIXED:
            assert better
            assert worse
        case Judgement.NO_CLEAR_DIFFERENCE | Judgement.NO_DIFFERENCE:
            assert not better
            assert not worse
        case Judgement.NOTHING_GREW:
            assert judged.kept == 0
            assert not worse or judged.germinated == 0
        case Judgement.DIVERGED:
            assert set(judged.hosts) <= set(judged.diverged)
    if judged.diverged or judged.not_finite:
        assert judged.judgement in (Judgement.DIVERGED, Judgement.NO_COMPARISON)
    for measure in (judged.accuracy, judged.loss):
        assert _holds(measure), measure


def _holds(measure: Measure) -> bool:
    difference, error = measure.difference, measure.standard_error
    if measure.direction is Direction.UNKNOWN:
        return difference is None
    if difference is None or not isfinite(difference) or (error is not None and not isfinite(error)):
        return False
    if measure.direction in CLEAR:
        return error is not None and abs(difference) > 2 * error and (difference > 0) == (measure.direction == "better")
    return measure.direction is Direction.UNCLEAR or difference == 0


@given(results)
def test_words_never_contradict_the_fields(told):
    # What is said at equal epochs beside it is said of the verdict that is beside it.
    judged = evolve(verdict(told), at_equal_epochs=None)
    said = verdict_in_words(judged)
    directions = {judged.accuracy.direction, judged.loss.direction}
    assert said.endswith(".")
    assert "+0 parameters" not in said
    assert "-0.0 points" not in said
    assert "+0.0 points" not in said
    assert not any(word in said.replace("Infinity", "") for word in ("nan", "NaN", " inf ", "None"))
    claims = (
        "Growing paid at equal compute:",
        "Growing did not pay at equal compute:",
        "the grown network is better:",
        "the grown network is worse:",
        "mixed effects:",
        "mixed effects at equal compute:",
        "no clear difference:",
        "no clear difference at equal compute:",
        "no difference:",
        "no difference at equal compute:",
        "no growth to judge:",
    )
    assert sum(claim in said for claim in claims) == (
        judged.judgement not in (Judgement.DIVERGED, Judgement.NO_COMPARISON)
    )
    assert ("Growing paid at equal compute:" in said) == (judged.judgement is Judgement.PAID)
    assert ("Growing did not pay at equal compute:" in said) == (judged.judgement is Judgement.DID_NOT_PAY)
    assert ("diverged" in said.lower()) == bool(judged.diverged)
    if "more than chance" in said:
        assert directions & CLEAR
        assert judged.judgement not in (Judgement.NO_CLEAR_DIFFERENCE, Judgement.NO_DIFFERENCE)
        assert "learned no more" not in said
    if "may be chance" in said:
        assert Direction.UNCLEAR in directions
    if "is not better than its" in said or "not clearly better" in said:
        assert Direction.BETTER not in directions


@given(results)
def test_colours_say_what_the_verdict_says(told):
    table, judged = comparison(told), verdict(told)
    styles = {row[0]: [cell.style for cell in row if isinstance(cell, Cell)] for row in table.rows}
    found = [name for name, key in (("twin", "difference"), ("control", "compute_difference")) if told[key]]
    beside = {it.against: it for it in (judged, judged.at_equal_epochs) if it is not None}
    for title in ("test accuracy", "test loss"):
        measures = [beside.get(name) and getattr(beside[name], title.removeprefix("test ")) for name in found]
        expected = [{"better": "good", "worse": "bad"}.get(it.direction, "") if it else "" for it in measures]
        assert styles.get(title, expected) == expected


def test_a_verdict_is_plain_data_with_its_judgement():
    assert verdict(result()) == RunVerdict(
        judgement=Judgement.PAID,
        against="control",
        outcome="completed",
        accuracy=verdict(result()).accuracy,
        loss=Measure(difference=0.1, standard_error=0.01, direction=Direction.BETTER),
        answers=50,
        asked=1000,
        unit="samples",
        parameters=744,
        germinated=1,
        kept=1,
        live=0,
        depends_on_seeds=True,
        hosts=("grown",),
        twin=True,
    )
