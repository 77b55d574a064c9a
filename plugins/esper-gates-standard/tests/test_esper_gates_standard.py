from functools import cache
from importlib.metadata import entry_points
from math import inf, nan
from pkgutil import resolve_name
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.api import Gate, GateLevel, GateResult, PairedDifference, SeedEvidence, Stage
from esper_core.specs import GateSpec

LEVELS = tuple(GateLevel)
SETS = ("standard", "strict", "permissive")


@cache
def specs() -> dict[tuple[str, GateLevel], GateSpec]:
    (entry,) = entry_points(group="esper", name="gates-standard")
    return {(spec.gate_set, spec.level): spec for spec in entry.load().esper_gates()}


def options_of(level: GateLevel, gate_set: str = "standard") -> Any:
    config = specs()[gate_set, level].config
    return resolve_name(config) if config else None


def build(level: GateLevel, gate_set: str = "standard", **options: Any) -> Gate:
    config = options_of(level, gate_set)
    return resolve_name(specs()[gate_set, level].factory)(config(**options) if config else None)


def judge(level: GateLevel, evidence: SeedEvidence, gate_set: str = "standard", **options: Any) -> GateResult:
    return build(level, gate_set, **options).evaluate(evidence)


def difference(mean: float, standard_error: float = 0.005, count: int = 359) -> PairedDifference:
    return PairedDifference(mean=mean, standard_error=standard_error, count=count)


#: A seed that passes every gate of every set.
GOOD = SeedEvidence(
    slot="a",
    seed_id="a-0",
    blueprint="conv-light",
    stage=Stage.TRAINING,
    epochs_in_stage=3,
    age_epochs=4,
    alpha=1.0,
    parameters=600,
    ready=True,
    probe_error="",
    host_epochs=5,
    group_in_place=True,
    gradient_ratio=0.1,
    gradients_finite=True,
    update_ratio=0.2,
    finite=True,
    probe=difference(0.002),
    contribution=difference(0.1),
    ramp_done=True,
    settled_epochs=4,
    host_gain=difference(0.03),
)

#: What each gate cannot do without, and how it calls it.
NEEDS = {
    GateLevel.G0: ("probe_error", "finite"),
    GateLevel.G1: (),
    GateLevel.G2: ("finite", "gradients_finite", "gradient_ratio", "update_ratio", "probe"),
    GateLevel.G3: ("finite", "contribution"),
    GateLevel.G5: ("finite", "contribution"),
}


def test_three_sets_have_one_gate_for_every_level():
    assert set(specs()) == {(gate_set, level) for gate_set in SETS for level in LEVELS}
    assert len({spec.name for spec in specs().values()}) == len(SETS) * len(LEVELS)
    for gate_set, level in specs():
        gate = build(level, gate_set)
        assert isinstance(gate, Gate)
        assert gate.evaluate(GOOD).gate is level


@pytest.mark.parametrize("gate_set", SETS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_good_seed_passes_and_the_reason_says_why(level, gate_set):
    result = judge(level, GOOD, gate_set)

    assert result.passed
    assert not result.harmful
    assert result.score > 0.95
    assert result.reason


@pytest.mark.parametrize("gate_set", SETS)
@pytest.mark.parametrize(("level", "name"), [(level, name) for level, names in NEEDS.items() for name in names])
def test_what_was_not_measured_never_passes_and_is_named(level, name, gate_set):
    result = judge(level, evolve(GOOD, **{name: None}), gate_set)

    assert not result.passed
    assert not result.harmful
    assert result.score == 0.0
    assert f"{name} was not measured" in result.reason
    assert result.evidence[name] is None


NOT_FINITE = [
    (GateLevel.G2, "gradient_ratio", nan),
    (GateLevel.G2, "update_ratio", inf),
    (GateLevel.G2, "probe", difference(nan)),
    (GateLevel.G3, "contribution", difference(0.1, inf)),
    (GateLevel.G5, "contribution", difference(inf)),
    (GateLevel.G5, "host_gain", difference(0.1, nan)),
]


@pytest.mark.parametrize("gate_set", SETS)
@pytest.mark.parametrize(("level", "name", "value"), NOT_FINITE)
def test_a_figure_that_is_not_finite_never_passes_and_is_named(level, name, value, gate_set):
    result = judge(level, evolve(GOOD, **{name: value}), gate_set)

    assert not result.passed
    assert f"{name} is not finite" in result.reason


FAILURES = [
    (GateLevel.G0, {"ready": False}, "not ready", False),
    (GateLevel.G0, {"ready": False, "source_error": "no such artifact"}, "no such artifact", True),
    (GateLevel.G0, {"probe_error": "shape (1, 8, 4) instead of (1, 8, 8)"}, "instead of", True),
    (GateLevel.G0, {"finite": False}, "not finite", True),
    (GateLevel.G1, {"host_epochs": 0}, "host_epochs 0 < 1", False),
    (GateLevel.G1, {"group_in_place": False}, "optimizer", False),
    (GateLevel.G2, {"epochs_in_stage": 0}, "epochs_in_stage 0 < 1", False),
    (GateLevel.G2, {"gradients_finite": False}, "gradients are not finite", False),
    (GateLevel.G2, {"gradient_ratio": 0.0}, "gradient_ratio 0 < 0.001", False),
    (GateLevel.G2, {"update_ratio": 1.2}, "update_ratio 1.2 > 1", False),
    (GateLevel.G2, {"finite": False}, "not finite", True),
    (GateLevel.G2, {"probe": difference(-0.2)}, "probe -0.2000 nats", True),
    (GateLevel.G3, {"ramp_done": False}, "ramp is not done", False),
    (GateLevel.G3, {"contribution": difference(-0.045)}, "lower bound", False),
    (GateLevel.G3, {"contribution": difference(-0.2)}, "upper bound", True),
    (GateLevel.G3, {"finite": False}, "not finite", True),
    (GateLevel.G5, {"settled_epochs": 2}, "settled_epochs 2 < 3", False),
    (GateLevel.G5, {"contribution": difference(0.015)}, "lower bound +0.0068 <= 0.01 (confidence 0.95)", False),
    (GateLevel.G5, {"contribution": difference(0.1, 0.05)}, "lower bound -0.0163 <= 0 (confidence 0.99)", False),
    (GateLevel.G5, {"contribution": difference(-0.2)}, "upper bound", True),
    (GateLevel.G5, {"contribution": difference(0.1, count=20)}, "contribution_samples 20 < 30", False),
    (GateLevel.G5, {"finite": False}, "not finite", True),
    (GateLevel.G5, {"host_gain": difference(-0.1)}, "host_gain", False),
]


@pytest.mark.parametrize(("level", "changes", "words", "harmful"), FAILURES)
def test_one_broken_condition_fails_the_gate_with_its_reason(level, changes, words, harmful):
    result = judge(level, evolve(GOOD, **changes))

    assert not result.passed
    assert result.harmful is harmful
    assert words in result.reason
    assert set(changes) <= {key.removesuffix("_nats") for key in result.evidence}


def test_without_a_twin_there_is_no_regression_to_fear():
    result = judge(GateLevel.G5, evolve(GOOD, host_gain=None))

    assert result.passed
    assert not any(key.startswith("host_gain") for key in result.evidence)


def test_a_newborn_seed_with_a_gain_near_zero_passes_its_trial():
    """Figures of real seeds after their first epoch: hardly any update, little gradient, no effect to speak of."""
    newborn = evolve(
        GOOD, epochs_in_stage=1, gradient_ratio=0.011, update_ratio=0.003, probe=difference(-0.0001, 0.0001)
    )

    result = judge(GateLevel.G2, newborn)

    assert result.passed
    assert "still inert" in result.reason
    assert "gradient is weak" in result.reason


def test_figures_are_in_the_evidence():
    evidence = judge(GateLevel.G5, GOOD).evidence

    assert evidence["contribution_nats"] == 0.1
    assert evidence["contribution_standard_error"] == 0.005
    assert evidence["contribution_samples"] == 359
    assert evidence["contribution_lower_bound_0.95"] == pytest.approx(0.1 - 1.645 * 0.005, abs=1e-5)
    assert evidence["settled_epochs"] == 4


def test_only_gates_in_front_of_lasting_changes_ask_for_passes_in_a_row():
    asked = {gate_set: [build(level, gate_set).consecutive_passes for level in LEVELS] for gate_set in SETS}

    assert asked == {"standard": [1, 1, 1, 2, 2], "strict": [1, 1, 1, 2, 3], "permissive": [1, 1, 1, 1, 1]}
    assert build(GateLevel.G5, consecutive_passes=4).consecutive_passes == 4


maybe = st.none() | st.floats(allow_nan=True, allow_infinity=True, min_value=None)
ratios = st.none() | st.sampled_from([nan, inf]) | st.floats(0.0, 3.0)
means = st.sampled_from([nan, inf, -inf]) | st.floats(-0.5, 0.5)
errors = st.sampled_from([nan, inf, 0.0]) | st.floats(0.0, 0.2)
differences = st.none() | st.builds(PairedDifference, mean=means, standard_error=errors, count=st.integers(1, 500))
flags = st.none() | st.booleans()
seeds = st.builds(
    SeedEvidence,
    slot=st.just("a"),
    seed_id=st.just("a-0"),
    blueprint=st.just("conv-light"),
    stage=st.sampled_from(Stage),
    epochs_in_stage=st.integers(0, 9),
    age_epochs=st.integers(0, 9),
    alpha=st.floats(0.0, 1.0),
    ready=st.booleans(),
    source_error=st.none() | st.just("broken"),
    probe_error=st.sampled_from([None, "", "", "wrong shape"]),
    host_epochs=st.integers(0, 9),
    group_in_place=st.booleans(),
    gradient_ratio=ratios,
    gradients_finite=flags,
    update_ratio=ratios,
    finite=flags,
    probe=differences,
    contribution=differences,
    ramp_done=st.booleans(),
    settled_epochs=st.integers(0, 9),
    host_gain=differences,
)


@settings(deadline=None)
@given(seeds, st.sampled_from(LEVELS))
def test_verdicts_are_total_pure_and_nested(evidence, level):
    results = {gate_set: judge(level, evidence, gate_set) for gate_set in SETS}

    for gate_set, result in results.items():
        assert 0.0 <= result.score <= 1.0
        assert result.reason
        assert not (result.passed and result.harmful)
        assert repr(judge(level, evidence, gate_set)) == repr(result)
    assert results["strict"].passed <= results["standard"].passed <= results["permissive"].passed
    assert results["permissive"].harmful <= results["standard"].harmful <= results["strict"].harmful


BETTER = {
    "contribution": st.floats(-0.3, 0.3).map(difference),
    "probe": st.floats(-0.3, 0.3).map(difference),
    "host_gain": st.floats(-0.3, 0.3).map(difference),
    "gradient_ratio": st.floats(0.0, 0.5),
    "update_ratio": st.floats(0.0, 4.0),
    "settled_epochs": st.integers(0, 9),
    "epochs_in_stage": st.integers(0, 9),
    "host_epochs": st.integers(0, 9),
}


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(BETTER)), st.sampled_from(LEVELS), st.sampled_from(SETS))
def test_better_evidence_never_lowers_the_score_nor_takes_a_pass_away(data, name, level, gate_set):
    def goodness(value: Any) -> float:
        return -value if name == "update_ratio" else getattr(value, "mean", value)

    worse, better = sorted((data.draw(BETTER[name]), data.draw(BETTER[name])), key=goodness)
    first, second = (judge(level, evolve(GOOD, **{name: value}), gate_set) for value in (worse, better))

    assert first.score <= second.score
    assert first.passed <= second.passed
    assert first.harmful >= second.harmful


#: For every option: evidence, and a value of the option that turns GOOD's verdict round.
OPTIONS = {
    GateLevel.G1: {"min_host_epochs": ({}, 6)},
    GateLevel.G2: {
        "min_dwell_epochs": ({}, 4),
        "min_gradient_ratio": ({}, 0.2),
        "max_update_ratio": ({}, 0.1),
        "harm_margin_nats": ({"probe": difference(-0.03)}, 0.01),
        "harm_confidence": ({"probe": difference(-0.06)}, 0.9),
    },
    GateLevel.G3: {
        "margin_nats": ({"contribution": difference(-0.03)}, 0.02),
        "confidence": ({"contribution": difference(-0.035)}, 0.9999),
    },
    GateLevel.G5: {
        "min_settled_epochs": ({}, 5),
        "min_samples": ({}, 1000),
        "min_contribution_nats": ({}, 0.2),
        "threshold_confidence": ({"contribution": difference(0.02)}, 0.99),
        "sign_confidence": ({"contribution": difference(0.02)}, 0.999999),
        "twin_margin_nats": ({"host_gain": difference(-0.02)}, 0.001),
        "twin_confidence": ({"host_gain": difference(-0.027)}, 0.9),
    },
}


@pytest.mark.parametrize(("level", "option"), [(level, name) for level, names in OPTIONS.items() for name in names])
def test_every_threshold_decides_something(level, option):
    changes, value = OPTIONS[level][option]
    evidence = evolve(GOOD, **changes)

    assert judge(level, evidence).passed
    assert not judge(level, evidence, **{option: value}).passed


@pytest.mark.parametrize(
    ("option", "evidence", "value"),
    [
        ("harm_margin_nats", difference(-0.04), 0.01),
        ("harm_confidence", difference(-0.06), 0.9),
    ],
)
def test_options_of_harm_decide_what_counts_as_harm(option, evidence, value):
    seed = evolve(GOOD, contribution=evidence)

    assert not judge(GateLevel.G5, seed).harmful
    assert judge(GateLevel.G5, seed, **{option: value}).harmful


@pytest.mark.parametrize(("option", "words"), [("weak_gradient_ratio", "weak"), ("inert_update_ratio", "inert")])
def test_options_of_notes_decide_about_notes_only(option, words):
    quiet, noted = judge(GateLevel.G2, GOOD), judge(GateLevel.G2, GOOD, **{option: 0.5})

    assert quiet.passed
    assert noted.passed
    assert words not in quiet.reason
    assert words in noted.reason


def test_no_option_is_without_a_test_of_what_it_does():
    elsewhere = {"consecutive_passes", "weak_gradient_ratio", "inert_update_ratio", "harm_margin_nats"}
    elsewhere |= {"harm_confidence"}
    for level, tested in OPTIONS.items():
        options = {field.name for field in attrs.fields(options_of(level))}
        assert options - elsewhere == set(tested) - elsewhere


@pytest.mark.parametrize(
    ("level", "wrong"),
    [
        (GateLevel.G1, {"min_host_epochs": -1}),
        (GateLevel.G2, {"max_update_ratio": -0.1}),
        (GateLevel.G2, {"consecutive_passes": 0}),
        (GateLevel.G3, {"confidence": 1.0}),
        (GateLevel.G5, {"sign_confidence": 0.4}),
        (GateLevel.G5, {"min_samples": 1}),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(level, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        options_of(level)(**wrong)


@pytest.mark.parametrize(
    ("norm", "passed", "words"),
    [(0.5, True, ""), (0.0, False, "its gradient is zero"), (None, False, "gradient_not_zero")],
)
def test_beside_a_frozen_host_a_seed_need_only_have_a_gradient(norm, passed, words):
    """There is nothing to compare it with; without the host's gradient another host's seed never passes."""
    unmeasured = evolve(GOOD, gradient_ratio=None, gradient_norm=norm)
    found = judge(GateLevel.G2, evolve(unmeasured, host_frozen=True))

    assert found.passed is passed
    assert words in found.reason
    assert not judge(GateLevel.G2, unmeasured).passed
