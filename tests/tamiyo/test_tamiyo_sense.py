from math import inf, isfinite, nan

import attrs
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Verdict
from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.observation import WINDOW_EPOCHS, LearningCurves, Observation, SlotState
from esper_core.leyline.reports import HostReport
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, GateLevel, Stage
from esper_core.tamiyo import sense

SITE = Site(id="a", path="blocks.0", layout=Layout.NCHW, width=8, sample_shape=(8, 4, 4), depth=0.5)


def observe(history: list[Evidence], report: HostReport, **more: object) -> Observation:
    """What is seen after these epochs."""
    return sense.observe(LearningCurves.of(history), history[-1] if history else None, report, **more)


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
    assert len(seen.host.curves.train_losses) == len(seen.host.curves.validation_accuracies) == len(history)


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
    assert seen.host.curves == LearningCurves()
    assert (seen.host.epoch, seen.host.epochs, seen.host.host_parameters) == (0, 40, 438)
    assert seen.slots[0].contribution is seen.slots[0].evidence is None


def test_host_signals_are_those_of_the_last_epoch():
    history = [evidence(0, train_loss=2.0), evidence(1, train_loss=nan), evidence(2, train_loss=0.9)]
    report = report_of(epoch=3, states=(), governor=GovernorMode.CONSERVATIVE, parameters=9)

    host = observe(history, report, epochs=10, random_guess_loss=2.3).host

    assert host.curves.train_losses == (2.0, None, 0.9)
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

    assert slot.state == state
    assert (slot.gradient_ratio, slot.update_ratio, slot.probe) == (0.2, 0.05, MEASURED.probe)
    assert slot.contribution is None
    assert slot.evidence == MEASURED


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


def test_a_policy_sees_what_came_of_its_last_command():
    asked = Action(op=Op.GERMINATE, slot="a", blueprint="conv-light", blend=Blend.LINEAR, id="h/4")
    denied = Verdict(action_id="h/4", allowed=False, reason="no")
    states = (SlotState(site=SITE), SlotState(site=evolve(SITE, id="b")))

    slots = observe([], report_of(epoch=5, states=states), epochs=10, answers=[(asked, denied)]).slots

    assert (slots[0].command, slots[0].verdict) == (asked, denied)
    assert slots[1].command is slots[1].verdict is None


def test_curves_stay_as_long_as_the_window_and_remember_the_best_of_all_epochs():
    losses = [1.0, 0.5, *[0.9] * 2 * WINDOW_EPOCHS, 0.8]

    curves = LearningCurves.of(evidence(epoch, validation_loss=loss) for epoch, loss in enumerate(losses))

    assert len(curves.validation_losses) == len(curves.train_accuracies) == WINDOW_EPOCHS
    assert curves.validation_losses[-2:] == (0.9, 0.8)
    assert curves.best_validation_loss == 0.5
    assert curves.best_validation_accuracy == 0.5
    assert curves.epochs_since_best == len(losses) - 2


def test_a_loss_that_is_not_finite_is_never_the_best():
    curves = LearningCurves.of([evidence(0, validation_loss=-inf), evidence(1, validation_loss=2.0)])

    assert (curves.best_validation_loss, curves.epochs_since_best) == (2.0, 0)


def test_changes_since_the_epoch_before_are_those_of_the_last_two():
    history = [evidence(0, validation_loss=2.0), evidence(1, validation_loss=1.5)]
    report = report_of(epoch=2, states=(), parameters=150, host_parameters=100)

    host = observe(history, report, epochs=8, twin=evidence(1, validation_loss=1.75)).host

    assert (host.validation_loss_fall, host.validation_accuracy_rise, host.twin_gain) == (0.5, 0.0, 0.25)
    assert (host.progress, host.growth_ratio) == (0.25, 0.5)
    assert observe(history[:1], report, epochs=8).host.validation_loss_fall is None
