"""The observation as numbers: bounded whatever is shown, and a saved table that differs is named."""

import json
from math import isfinite

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.actions import Action, GovernorMode, Op, Verdict
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.observation import HostSignals, LearningCurves, Observation, SlotSignals, SlotState
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, GateLevel, Stage
from esper_learning import schema
from esper_learning.schema import Feature, ObservationSchema, differences

NAMES = ("conv-light", "depthwise", "lora")
SCHEMA = ObservationSchema(NAMES)
SITE = Site(id="a", path="blocks.0", layout=Layout.NCHW, width=8, sample_shape=(8, 4, 4), depth=0.5)

anything = st.floats(allow_nan=True, allow_infinity=True)
whole = st.integers(-(10**400), 10**400)
curve = st.lists(st.none() | anything, max_size=7).map(tuple)
difference = st.none() | st.builds(PairedDifference, mean=anything, standard_error=anything, count=st.just(9))
blueprint = st.none() | st.sampled_from([*NAMES, "not in the catalogue"])
hosts = st.builds(
    HostSignals,
    epoch=st.integers(-9, 10**9),
    epochs=st.integers(-9, 10**9),
    curves=st.builds(
        LearningCurves,
        train_losses=curve,
        validation_losses=curve,
        train_accuracies=curve,
        validation_accuracies=curve,
        best_validation_loss=st.none() | anything,
        best_validation_accuracy=st.none() | anything,
        epochs_since_best=whole,
    ),
    random_guess_loss=st.none() | anything,
    parameters=st.integers(0, 10**18),
    host_parameters=st.integers(0, 10**18),
    governor=st.sampled_from(GovernorMode),
    twin_validation_loss=st.none() | anything,
)
slots = st.builds(
    SlotSignals,
    state=st.builds(
        SlotState,
        site=st.builds(
            evolve, st.just(SITE), depth=anything, width=st.integers(1, 10**9), layout=st.sampled_from(Layout)
        ),
        stage=st.sampled_from(Stage),
        previous_stage=st.sampled_from(Stage),
        epochs_in_stage=whole,
        blueprint=blueprint,
        age_epochs=whole,
        blend=st.none() | st.sampled_from(Blend),
        ramp_epochs=st.none() | whole,
        alpha=anything,
        parameters=whole,
        settled_epochs=whole,
        next_gate=st.none() | st.builds(GateResult, gate=st.just(GateLevel.G2), passed=st.booleans(), score=anything),
        may_fossilize=st.booleans(),
        harmful=st.booleans(),
        culled_blueprints=st.lists(st.sampled_from(NAMES), max_size=9).map(tuple),
    ),
    evidence=st.none()
    | st.builds(
        SeedEvidence,
        slot=st.just("a"),
        seed_id=st.just("a-0"),
        blueprint=st.just("lora"),
        stage=st.just(Stage.TRAINING),
        epochs_in_stage=st.just(1),
        age_epochs=st.just(1),
        alpha=anything,
        gradient_ratio=st.none() | anything,
        update_ratio=st.none() | anything,
        probe=difference,
        contribution=difference,
    ),
    command=st.none() | st.builds(Action, op=st.sampled_from(Op), slot=st.just("a")),
    verdict=st.none() | st.builds(Verdict, action_id=st.just(""), allowed=st.booleans()),
)
observations = st.builds(Observation, host=hosts, slots=st.lists(slots, max_size=3).map(tuple))


@settings(deadline=None, max_examples=300)
@given(observations)
def test_every_feature_is_within_its_bounds_whatever_is_shown(observation):
    host, slots = SCHEMA.vector(observation)

    assert len(slots) == len(observation.slots)
    for rows, values in ((SCHEMA.host, host), *((SCHEMA.slot, slot) for slot in slots)):
        for row, value in zip(rows, values, strict=True):
            assert type(value) is float
            assert isfinite(value)
            assert row.low <= value <= row.high


@settings(max_examples=50, deadline=None)
@given(observations, observations)
def test_reading_a_source_once_gives_what_each_row_reads(first, second):
    for shown in (first, second, first):
        host, slots = SCHEMA.vector(shown)
        assert host == [row.value(shown) for row in SCHEMA.host]
        assert slots == [[row.value(signals) for row in SCHEMA.slot] for signals in shown.slots]


def test_the_table_itself_is_sound():
    for rows in (SCHEMA.host, SCHEMA.slot):
        assert len({row.name for row in rows}) == len(rows)
        for row in rows:
            assert row.low <= row.missing <= row.high
            assert row.low < row.high
            assert row.transform in schema.TRANSFORMS


def features(observation: Observation) -> tuple[dict[str, float], list[dict[str, float]]]:
    host, slots = SCHEMA.vector(observation)
    names = [row.name for row in SCHEMA.slot]
    return (
        dict(zip([row.name for row in SCHEMA.host], host, strict=True)),
        [dict(zip(names, slot, strict=True)) for slot in slots],
    )


def test_features_say_what_the_record_says():
    curves = LearningCurves(
        train_losses=(1.0, 0.5),
        validation_losses=(1.0, 0.9),
        train_accuracies=(0.5, 0.75),
        validation_accuracies=(0.5, 0.5),
    )
    host = HostSignals(epoch=2, epochs=8, curves=curves, governor=GovernorMode.CONSERVATIVE)
    state = SlotState(site=SITE, stage=Stage.BLENDING, blueprint="lora", blend=Blend.GATED, alpha=0.25)

    seen, (slot,) = features(Observation(host=host, slots=(SlotSignals(state=state),)))

    assert (seen["progress"], seen["train accuracy"], seen["governor conservative"]) == (0.25, 0.75, 1.0)
    assert seen["governor normal"] == seen["validation accuracy rise"] == 0.0
    assert seen["validation loss fall"] == pytest.approx(0.5)
    assert seen["validation loss 2 back"] > seen["validation loss 1 back"] > 0.0
    assert (slot["stage BLENDING"], slot["blueprint lora"], slot["blend gated"], slot["alpha"]) == (1.0, 1.0, 1.0, 0.25)
    assert slot["stage TRAINING"] == slot["blueprint conv-light"] == slot["blend linear"] == 0.0


def test_what_is_missing_is_told_from_what_is_zero():
    nothing = Observation(host=HostSignals(epoch=0, epochs=8), slots=())
    curves = LearningCurves(validation_losses=(0.0,), validation_accuracies=(0.0,))
    zero = Observation(host=HostSignals(epoch=0, epochs=8, curves=curves), slots=())

    missing, measured = features(nothing)[0], features(zero)[0]

    assert (missing["validation loss"], measured["validation loss"]) == (0.0, 0.0)
    assert (missing["validation loss known"], measured["validation loss known"]) == (0.0, 1.0)
    assert (missing["validation accuracy"], measured["validation accuracy"]) == (-1.0, 0.0)
    assert (missing["validation loss 1 back known"], measured["validation loss 1 back known"]) == (0.0, 1.0)
    assert measured["validation loss 2 back known"] == 0.0


def test_the_hash_is_that_of_the_whole_table_and_the_same_in_every_process():
    again = ObservationSchema(list(NAMES))

    assert again.hash == SCHEMA.hash
    assert len(SCHEMA.hash) == 64
    assert ObservationSchema(NAMES[:2]).hash != SCHEMA.hash
    assert ObservationSchema(reversed(NAMES)).hash != SCHEMA.hash


def test_a_saved_table_is_the_same_or_says_what_differs():
    saved = json.loads(json.dumps(SCHEMA.record()))
    assert differences(saved, SCHEMA) == ()

    other = differences(saved, ObservationSchema(("conv-light", "mlp", "depthwise")))
    assert other == (
        "slot feature blueprint lora is not there any more",
        "slot feature blueprint mlp is new",
        "slot feature culled lora is not there any more",
        "slot feature culled mlp is new",
    )
    assert differences(saved, ObservationSchema(("depthwise", "conv-light", "lora"))) == (
        "the slot features have another order",
    )


def test_a_row_that_means_something_else_is_named():
    saved = json.loads(json.dumps(SCHEMA.record()))
    row = next(row for row in saved["host"] if row["name"] == "train loss")
    row |= {"source": "host.validation_loss", "parameter": 9.0}

    assert differences(saved | {"version": 0}, SCHEMA) == (
        "version 0 is 1 now",
        "host feature train loss: parameter was 9.0, is 1095.0",
        "host feature train loss: source was host.validation_loss, is host.train_loss",
    )


def test_something_else_is_no_saved_table():
    with pytest.raises(EsperError) as caught:
        differences({"version": 1, "host": [{"name": "x"}], "slot": []}, SCHEMA)
    assert caught.value.code == "E202"


def test_a_feature_that_cannot_be_read_is_missing_and_one_beyond_its_bounds_is_clipped():
    feature = Feature(name="x", source="epoch", transform="as it is", missing=0.5)

    assert feature.value(HostSignals(epoch=7, epochs=1)) == 1.0
    assert feature.value(evolve(HostSignals(epoch=0, epochs=1), epoch=None)) == 0.5
