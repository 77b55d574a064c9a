from math import inf, isfinite, nan

import attrs
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.actions import ActionMasks, GovernorMode
from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.reports import HostReport
from esper_core.leyline.sites import Layout, Site
from esper_core.leyline.stages import Blend, GateLevel, Stage
from esper_core.tamiyo.sense import observe

SITE = Site(id="a", path="blocks.0", layout=Layout.NCHW, width=8, sample_shape=(8, 4, 4), depth=0.5)


def report_of(**more: object) -> HostReport:
    return HostReport(host="h", masks=ActionMasks(slots=(), blueprints=()), **more)


anything = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | anything
differences = st.builds(PairedDifference, mean=anything, standard_error=anything, count=st.integers(1, 500))
metrics = st.builds(EpochMetrics, loss=anything, accuracy=anything, samples=st.just(10), sample_losses=st.none())
seeds = st.builds(
    SeedEvidence,
    slot=st.sampled_from(["a", "b", "gone"]),
    seed_id=st.just("a-0"),
    blueprint=st.sampled_from(["conv-light", "depthwise"]),
    stage=st.sampled_from(Stage),
    epochs_in_stage=st.integers(0, 9),
    age_epochs=st.integers(0, 9),
    alpha=anything,
    gradient_ratio=maybe,
    update_ratio=maybe,
    probe=st.none() | differences,
    contribution=st.none() | differences,
    host_gain=st.none() | differences,
)
records = st.builds(
    Evidence,
    host=st.just("h"),
    epoch=st.integers(0, 9),
    train=metrics,
    validation=metrics,
    seeds=st.lists(seeds, max_size=3).map(tuple),
    gates=st.just({}),
    forward_flops=st.none(),
    learning_rate=maybe,
)
states = st.builds(
    SlotState,
    site=st.sampled_from([SITE, evolve(SITE, id="b", layout=Layout.BTD, sample_shape=(5, 8))]),
    stage=st.sampled_from(Stage),
    blueprint=st.none() | st.sampled_from(["conv-light", "depthwise"]),
    age_epochs=st.integers(0, 9),
    alpha=anything,
    next_gate=st.none()
    | st.builds(
        GateResult, gate=st.sampled_from(GateLevel), passed=st.booleans(), score=anything, evidence=st.just({})
    ),
)


def numbers(value: object) -> list[float]:
    """Every float in a nested record."""
    if isinstance(value, float):
        return [value]
    if isinstance(value, tuple):
        return [number for item in value for number in numbers(item)]
    if attrs.has(type(value)):
        return [number for f in attrs.fields(type(value)) for number in numbers(getattr(value, f.name))]
    return []


@settings(deadline=None)
@given(
    st.lists(records, max_size=4),
    st.lists(states, max_size=3).map(tuple),
    st.none() | records,
    maybe,
    st.integers(1, 9),
)
def test_every_number_is_finite_whatever_was_measured(history, states, twin, guess, epochs):
    report = report_of(epoch=len(history), states=states)

    seen = observe(history, report, epochs=epochs, random_guess_loss=guess, twin=twin)

    assert all(isfinite(number) for number in numbers(seen))
    assert [slot.slot for slot in seen.slots] == [state.site.id for state in states]
    assert len(seen.host.train_losses) == len(seen.host.validation_accuracies) == len(history)


def epoch_of(loss: float, accuracy: float) -> EpochMetrics:
    return EpochMetrics(loss=loss, accuracy=accuracy, samples=100)


def evidence(epoch: int, *seeds: SeedEvidence, train_loss: float = 1.0, validation_loss: float = 1.5) -> Evidence:
    return Evidence(
        host="h",
        epoch=epoch,
        train=epoch_of(train_loss, 0.6),
        validation=epoch_of(validation_loss, 0.5),
        seeds=seeds,
    )


MEASURED = SeedEvidence(
    slot="a",
    seed_id="a-0",
    blueprint="conv-light",
    stage=Stage.TRAINING,
    epochs_in_stage=1,
    age_epochs=2,
    alpha=0.0,
    gradient_ratio=0.2,
    update_ratio=0.05,
    probe=PairedDifference(mean=0.01, standard_error=0.005, count=100),
)
HELD = SlotState(
    site=SITE,
    stage=Stage.BLENDING,
    blueprint="conv-light",
    age_epochs=2,
    blend=Blend.GATED,
    ramp_epochs=7,
    parameters=600,
)


def test_nothing_is_measured_before_the_first_epoch():
    seen = observe([], report_of(epoch=0, states=(SlotState(site=SITE),), host_parameters=438), epochs=40)

    assert seen.host.train_loss is seen.host.validation_accuracy is seen.host.twin_validation_loss is None
    assert seen.host.train_losses == ()
    assert (seen.host.epoch, seen.host.epochs, seen.host.host_parameters) == (0, 40, 438)
    assert seen.slots[0].contribution is seen.slots[0].next_gate_passed is None


def test_host_signals_are_those_of_the_last_epoch_and_the_histories_are_whole():
    history = [evidence(0, train_loss=2.0), evidence(1, train_loss=nan), evidence(2, train_loss=0.9)]
    report = report_of(epoch=3, states=(), governor=GovernorMode.CONSERVATIVE, parameters=9)

    host = observe(history, report, epochs=10, random_guess_loss=2.3).host

    assert host.train_losses == (2.0, None, 0.9)
    assert (host.train_loss, host.train_accuracy, host.validation_loss, host.validation_accuracy) == (
        0.9,
        0.6,
        1.5,
        0.5,
    )
    assert (host.governor, host.parameters, host.random_guess_loss) == (GovernorMode.CONSERVATIVE, 9, 2.3)


def test_a_seed_brings_its_figures_and_its_gate_verdict():
    verdict = GateResult(gate=GateLevel.G3, passed=False, score=0.3)
    state = evolve(HELD, next_gate=verdict, harmful=True, culled_blueprints=("depthwise",))

    slot = observe([evidence(4, MEASURED)], report_of(epoch=5, states=(state,)), epochs=10).slots[0]

    assert (slot.layout, slot.width, slot.depth) == (Layout.NCHW, 8, 0.5)
    assert (slot.stage, slot.blueprint, slot.parameters) == (Stage.BLENDING, "conv-light", 600)
    assert (slot.blend, slot.ramp_epochs) == (Blend.GATED, 7)
    assert (slot.gradient_ratio, slot.update_ratio, slot.probe) == (0.2, 0.05, MEASURED.probe)
    assert slot.contribution is None
    assert (slot.next_gate_passed, slot.next_gate_score, slot.harmful) == (False, 0.3, True)
    assert slot.culled_blueprints == ("depthwise",)


def test_figures_of_a_seed_that_is_gone_are_not_shown_for_its_successor():
    history = [evidence(4, MEASURED)]
    for state in (
        SlotState(site=SITE, stage=Stage.EMBARGOED),
        evolve(HELD, stage=Stage.GERMINATED, age_epochs=0),
        evolve(HELD, blueprint="depthwise"),
    ):
        slot = observe(history, report_of(epoch=5, states=(state,)), epochs=10).slots[0]
        assert slot.gradient_ratio is slot.update_ratio is slot.probe is None


def test_an_infinite_standard_error_is_no_measurement():
    measured = evolve(MEASURED, contribution=PairedDifference(mean=0.5, standard_error=inf, count=1))

    slot = observe([evidence(4, measured)], report_of(epoch=5, states=(HELD,)), epochs=10).slots[0]

    assert slot.contribution is None


def test_the_twin_counts_only_for_the_same_epoch():
    report = report_of(epoch=5, states=())
    twin = evidence(4, validation_loss=1.7)

    assert observe([evidence(4)], report, epochs=10, twin=twin).host.twin_validation_loss == 1.7
    assert observe([evidence(3)], report, epochs=10, twin=twin).host.twin_validation_loss is None
    assert observe([], report, epochs=10, twin=twin).host.twin_validation_loss is None
