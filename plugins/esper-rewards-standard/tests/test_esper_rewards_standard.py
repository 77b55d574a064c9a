"""What the terms pay for, and what a policy cannot get out of them."""

import json
from math import inf, log, nan
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_app.api import execute, load_plugins, resolve_run
from esper_core.api import (
    Action,
    ActionMasks,
    Blend,
    Cause,
    Decision,
    Ended,
    EpochMetrics,
    EsperError,
    Evidence,
    HostSignals,
    Layout,
    Observation,
    Op,
    PairedDifference,
    SeedEvidence,
    Site,
    SlotSignals,
    SlotState,
    Stage,
    Step,
    Transition,
)
from esper_rewards_standard.config import (
    AutomaticConfig,
    EarlyCullConfig,
    FossilizationConfig,
    InterventionConfig,
    RentConfig,
    StagePotentialConfig,
    TerminalConfig,
    WarningConfig,
)
from esper_rewards_standard.costs import Automatic, Intervention, Rent
from esper_rewards_standard.credit import Attribution
from esper_rewards_standard.endings import LossGain, LossTerminal, Terminal
from esper_rewards_standard.measures import credit, dependence
from esper_rewards_standard.plugin import esper_reward_terms
from esper_rewards_standard.potential import StagePotential
from esper_rewards_standard.presets import PRESETS, preset
from esper_rewards_standard.shaping import Cull, EarlyCull, Fossilization, Germination, Warning

GAMMA, EPOCHS, SCALE = 0.9, 20, 2.0
SURELY_GOOD, SURELY_BAD = (PairedDifference(mean=mean, standard_error=0.01, count=100) for mean in (0.4, -0.4))


def measured(loss: float, epoch: int = 3, accuracy: float = 0.5, **more: Any) -> Evidence:
    metrics = EpochMetrics(loss=loss, accuracy=accuracy, samples=100)
    return Evidence(host="h", epoch=epoch, train=metrics, validation=metrics, **more)


def seed(stage: Stage, contribution: PairedDifference | None) -> SeedEvidence:
    return SeedEvidence(
        slot="a",
        seed_id="a-0",
        blueprint="mlp",
        stage=stage,
        epochs_in_stage=1,
        age_epochs=3,
        alpha=1.0,
        contribution=contribution,
    )


def signals(name: str = "a", stage: Stage = Stage.DORMANT, **state: Any) -> SlotSignals:
    contribution = state.pop("contribution", None)
    site = Site(id=name, path=name, layout=Layout.BD, width=4, sample_shape=(4,))
    slot = SlotState(site=site, stage=stage, **state)
    return SlotSignals(state=slot, evidence=None if contribution is None else seed(stage, contribution))


def moved(source: Stage, target: Stage, slot: str = "a", cause: Cause = Cause.ACTION) -> Transition:
    return Transition(
        slot=slot,
        seed_id="a-0",
        blueprint="mlp",
        source=source,
        target=target,
        epoch=3,
        epochs_in_source=1,
        cause=cause,
    )


def step(*slots: SlotSignals, loss: float = 1.0, twin: float | None = 1.0, epoch: int = 3, **more: Any) -> Step:
    masks = more.pop("masks", ActionMasks(slots=tuple(slot.slot for slot in slots), blueprints=("mlp",)))
    after = {"after": measured(loss, epoch)} | more
    host = HostSignals(epoch=epoch, epochs=EPOCHS, random_guess_loss=more.pop("random_guess_loss", SCALE))
    after.pop("random_guess_loss", None)
    return Step(
        host="h",
        epoch=epoch,
        epochs=EPOCHS,
        gamma=GAMMA,
        observation=Observation(host=host, slots=slots),
        masks=masks,
        twin=None if twin is None else measured(twin, epoch, forward_flops=1000),
        **after,
    )


def lived(*lives: list[Stage], ended: Ended = Ended.NONE) -> list[Step]:
    """The steps of slots that are in these stages before each epoch and after the last one."""
    steps = []
    length = len(lives[0]) - 1
    for epoch in range(length):
        slots, changes = [], []
        for index, life in enumerate(lives):
            since = next((back for back in range(epoch) if life[epoch - 1 - back] is not life[epoch]), epoch)
            lasted = since + 1 if epoch else 0
            slots.append(signals(str(index), life[epoch], epochs_in_stage=lasted))
            if life[epoch + 1] is not life[epoch]:
                changes.append(moved(life[epoch], life[epoch + 1], str(index), Cause.GATE))
        last = ended if epoch + 1 == length else Ended.NONE
        steps.append(step(*slots, epoch=epoch, transitions=tuple(changes), ended=last))
    return steps


def discounted(values: list[float]) -> float:
    return sum(GAMMA**index * value for index, value in enumerate(values))


LIFE = [
    *(Stage.DORMANT, Stage.GERMINATED, Stage.TRAINING, Stage.TRAINING, Stage.BLENDING, Stage.BLENDING),
    *(Stage.PROBATIONARY, Stage.PROBATIONARY, Stage.FOSSILIZED),
]
CULLED = [*LIFE[:6], Stage.CULLED, Stage.EMBARGOED, Stage.DORMANT]

POTENTIAL = StagePotential(StagePotentialConfig())


def leaks_nothing(term: Any) -> None:
    """A seed that is germinated and culled was worth nothing, whatever it went through."""
    for length in range(2, 9):
        for rest in ([Stage.CULLED], [Stage.CULLED, Stage.EMBARGOED, Stage.DORMANT]):
            life = [*LIFE[:length], *rest]
            assert discounted([term.value(it) for it in lived(life)]) == pytest.approx(0.0, abs=1e-12)


def ends_at_zero(term: Any) -> None:
    """Whatever has grown by the end, the potential's part of the return is that of the beginning."""
    for life in (LIFE, CULLED):
        steps = lived(life, LIFE)
        ends = [evolve(steps[-1], ended=Ended.TERMINATED), evolve(steps[-1], ended=Ended.TRUNCATED, epochs=len(steps))]
        for end in ends:
            assert discounted([term.value(it) for it in [*steps[:-1], end]]) == pytest.approx(0.0, abs=1e-12)


def test_the_potential_telescopes_and_leaks_nothing_when_a_seed_is_culled() -> None:
    leaks_nothing(POTENTIAL)
    ends_at_zero(POTENTIAL)
    # Cut short, what has grown keeps its potential: what would have come is valued by the learner.
    steps = lived(LIFE, ended=Ended.TRUNCATED)
    assert discounted([POTENTIAL.value(it) for it in steps]) == pytest.approx(GAMMA ** len(steps))


class OwnGamma(StagePotential):
    def value(self, step: Step) -> float:
        return super().value(evolve(step, gamma=0.99))


class KeepsWhatWasCulled(StagePotential):
    def _of(self, stage: Stage, epochs: int) -> float:
        return super()._of(Stage.TRAINING if stage is Stage.CULLED else stage, epochs)


class ForgetsTheEnd(StagePotential):
    def value(self, step: Step) -> float:
        return super().value(evolve(step, ended=Ended.NONE))


@pytest.mark.parametrize(
    ("mutant", "guard"),
    [(OwnGamma, leaks_nothing), (KeepsWhatWasCulled, leaks_nothing), (ForgetsTheEnd, ends_at_zero)],
)
def test_a_potential_that_is_none_is_found_out(mutant: Any, guard: Any) -> None:
    with pytest.raises(AssertionError):
        guard(mutant(StagePotentialConfig()))


def test_the_potential_rises_all_the_way_and_with_patience() -> None:
    values = [POTENTIAL.value(evolve(it, gamma=1.0)) for it in lived(LIFE)]
    assert all(value > 0.0 for value in values)
    assert sum(values) == pytest.approx(1.0)


def capped(term: Any) -> None:
    """However much the network depends on a seed, no more is paid than what it has gained."""
    for ablation in (0.1, 0.5, 5.0, 500.0):
        live = seed(Stage.BLENDING, PairedDifference(mean=ablation, standard_error=0.01, count=100))
        for loss in (0.7, 1.0, 1.3):
            it = step(signals(), after=measured(loss, seeds=(live,)), twin=1.0)
            assert term.value(it) <= (1.0 - loss) / SCALE + 1e-12


class Uncapped(Attribution):
    def value(self, step: Step) -> float:
        return min(1.0, (dependence(step) or 0.0) / SCALE)


def test_nothing_is_attributed_beyond_the_gain_over_the_twin() -> None:
    capped(Attribution(None))
    with pytest.raises(AssertionError):
        capped(Uncapped(None))


@pytest.mark.parametrize(
    ("stage", "ablation", "loss", "twin", "paid"),
    [
        (Stage.BLENDING, 0.1, 0.5, 1.0, 0.05),  # less than the gain: all of it
        (Stage.BLENDING, 0.8, 0.5, 1.0, 0.25),  # more than the gain: the gain
        (Stage.BLENDING, -0.2, 0.5, 1.0, -0.1),  # harm
        (Stage.PROBATIONARY, 0.4, 1.4, 1.0, -0.2),  # worse than the twin
        (Stage.FOSSILIZED, None, 0.5, 1.0, 0.25),  # a part of the network
        (Stage.TRAINING, 0.4, 0.5, 1.0, 0.0),  # not in the network
        (Stage.BLENDING, None, 0.5, 1.0, 0.0),  # not measured
        (Stage.BLENDING, nan, 0.5, 1.0, 0.0),
        (Stage.BLENDING, 0.4, 0.5, None, 0.0),  # no twin: a gain is not known
        (Stage.BLENDING, -0.4, 0.5, None, -0.2),
        (Stage.BLENDING, 0.4, nan, 1.0, 0.0),
    ],
)
def test_what_is_attributed(stage: Stage, ablation: float, loss: float, twin: float, paid: float) -> None:
    contribution = None if ablation is None else PairedDifference(mean=ablation, standard_error=0.01, count=100)
    it = step(signals(), after=measured(loss, seeds=(seed(stage, contribution),)), twin=twin)
    assert Attribution(None).value(it) == pytest.approx(paid)
    assert Attribution(None).value(step(signals(), twin=twin, loss=loss)) == 0.0, "without a seed nothing is"


def test_rent_is_of_compute_and_where_that_is_not_known_of_parameters() -> None:
    grown = measured(1.0, parameters=300, host_parameters=100, forward_flops=2000)
    flops, parameters = Rent(RentConfig()), Rent(RentConfig(of="parameters"))
    assert flops.value(step(after=grown)) == pytest.approx(-log(2))
    assert parameters.value(step(after=grown)) == flops.value(step(after=grown, twin=None)) == pytest.approx(-log(3))
    assert flops.value(step(after=evolve(grown, forward_flops=None))) == pytest.approx(-log(3))
    assert flops.value(step(after=measured(1.0, parameters=100, host_parameters=100, forward_flops=1000))) == 0.0


def test_interventions_cost_and_waiting_does_not() -> None:
    term = Intervention(InterventionConfig())
    germinate = Action(op=Op.GERMINATE, slot="a", blueprint="mlp", blend=Blend.LINEAR)
    cull = Action(op=Op.CULL, slot="b")
    assert term.value(step(decision=Decision(actions=[germinate, cull]))) == pytest.approx(-0.025)
    assert term.value(step(decision=Decision(actions=[Action()]))) == term.value(step()) == 0.0


@pytest.mark.parametrize("cause", list(Cause))
def test_automatic_culls_and_stops_are_charged_and_what_the_policy_did_is_not(cause: Cause) -> None:
    term = Automatic(AutomaticConfig())
    culled = (moved(Stage.TRAINING, Stage.CULLED, cause=cause),)
    price = 0.0 if cause is Cause.ACTION else -0.2
    assert term.value(step(transitions=culled)) == price
    assert term.value(step(transitions=culled * 2)) == pytest.approx(2 * price)
    assert term.value(step(transitions=culled, ended=Ended.TERMINATED)) == pytest.approx(price - 1.0)
    assert term.value(step(ended=Ended.TRUNCATED)) == 0.0


def test_every_preset_charges_automatic_culls_and_stops() -> None:
    specs = {spec.name: spec for spec in esper_reward_terms()}
    for terms in PRESETS.values():
        assert set(terms) <= set(specs)
        assert terms["automatic"]["weight"] > 0.0


def test_a_late_germination_costs_more() -> None:
    germinated = (moved(Stage.DORMANT, Stage.GERMINATED),)
    costs = [Germination(None).value(step(epoch=epoch, transitions=germinated)) for epoch in (0, 5, 15)]
    assert costs == [0.0, -0.25, -0.75]
    assert Germination(None).value(step(epoch=15)) == 0.0


def test_what_is_kept_is_paid_by_its_credit() -> None:
    term = Fossilization(FossilizationConfig())

    def kept(contribution: PairedDifference | None, loss: float = 0.8) -> float:
        slot = signals("a", Stage.PROBATIONARY, contribution=contribution)
        return term.value(step(slot, loss=loss, transitions=(moved(Stage.PROBATIONARY, Stage.FOSSILIZED),)))

    assert kept(SURELY_GOOD) == pytest.approx(1.0)
    assert 0.5 < kept(PairedDifference(mean=0.05, standard_error=0.01, count=9)) < 1.0
    assert kept(SURELY_BAD) == kept(SURELY_GOOD, loss=1.1) == -0.5, "harm, or a network that has gained nothing"
    assert kept(None) == 0.0
    assert term.value(step(signals("a", Stage.PROBATIONARY, contribution=SURELY_GOOD))) == 0.0


def test_culls_are_judged_by_what_was_sure_and_early_ones_cost() -> None:
    culled, by_itself = ((moved(Stage.BLENDING, Stage.CULLED, cause=cause),) for cause in (Cause.ACTION, Cause.SAFETY))

    def worth(term: Any, contribution: PairedDifference | None, age: int = 9, transitions: Any = culled) -> float:
        slot = signals("a", Stage.BLENDING, contribution=contribution, age_epochs=age)
        return term.value(step(slot, transitions=transitions))

    cull, early = Cull(None), EarlyCull(EarlyCullConfig())
    unsure = PairedDifference(mean=-0.01, standard_error=0.1, count=100)
    assert [worth(cull, it) for it in (SURELY_BAD, unsure, None, SURELY_GOOD)] == [0.0, 0.0, 0.0, -1.0]
    assert worth(cull, SURELY_BAD, transitions=by_itself) == 0.0
    assert [worth(early, None, age) for age in (0, 4, 5)] == [-1.0, -1.0, 0.0]
    assert worth(early, None, 0, by_itself) == 0.0


def test_what_goes_on_too_long_is_warned_of() -> None:
    term = Warning(WarningConfig())
    harmful = signals("a", Stage.BLENDING, contribution=SURELY_BAD, epochs_in_stage=2)
    ready = signals("a", Stage.PROBATIONARY, epochs_in_stage=3)
    masks = ActionMasks(slots=("a",), blueprints=("mlp",), fossilize=frozenset({"a"}))
    fossilize = Decision(actions=[Action(op=Op.FOSSILIZE, slot="a")])
    assert term.value(step(harmful)) == pytest.approx(-0.3)
    assert term.value(step(ready, masks=masks)) == pytest.approx(-0.2)
    assert term.value(step(ready, masks=masks, decision=fossilize)) == 0.0
    assert term.value(step(signals("a", Stage.BLENDING, contribution=SURELY_GOOD, epochs_in_stage=9))) == 0.0


def test_the_end_is_paid_at_the_planned_end_only() -> None:
    term, last = Terminal(TerminalConfig()), {"epoch": EPOCHS - 1, "ended": Ended.TRUNCATED}
    after = measured(0.5, EPOCHS - 1, accuracy=0.9, parameters=200, host_parameters=100)
    assert term.value(step(after=after, **last)) == pytest.approx(0.8)
    assert term.value(step(after=after)) == 0.0
    assert term.value(step(after=after, ended=Ended.TRUNCATED)) == 0.0, "cut short"
    assert term.value(step(after=after, epoch=EPOCHS - 1, ended=Ended.TERMINATED)) == 0.0


def test_losses_are_on_the_scale_of_the_twin_and_of_random_guessing() -> None:
    falls = {"before": measured(1.2, 2), "twin_before": measured(1.1, 2)}
    last = {"epoch": EPOCHS - 1, "ended": Ended.TRUNCATED}
    rise, end = LossGain(None), LossTerminal(None)
    assert rise.value(step(loss=0.8, twin=1.0, **falls)) == pytest.approx((0.4 - 0.1) / SCALE)
    assert rise.value(step(loss=0.8, twin=None, before=measured(1.2, 2))) == pytest.approx(0.4 / SCALE)
    assert rise.value(step(loss=0.8, twin=1.0)) == 0.0
    assert [end.value(step(loss=loss, twin=1.0, **last)) for loss in (2.0, 1.0, 0.5)] == [0.0, 1.0, 1.5]
    assert end.value(step(loss=0.5, twin=None, **last)) == pytest.approx(0.75)
    assert end.value(step(loss=0.5, twin=1.0)) == 0.0
    for other in (1.0, 5.0):  # No figure of the scale is typed in: with the losses' unit, it cancels.
        units = step(loss=0.8 * other, twin=other, before=measured(1.2 * other), random_guess_loss=SCALE * other)
        units = evolve(units, twin_before=measured(1.1 * other))
        assert rise.value(units) == pytest.approx(0.15)


ODD = st.one_of(st.sampled_from([nan, inf, -inf, 0.0, 1e308, -1e308]), st.floats(-10, 10))


@settings(deadline=None)
@given(ODD, ODD, ODD, ODD, ODD, st.sampled_from(list(Ended)), st.integers(0, EPOCHS - 1), st.booleans())
def test_every_term_is_bounded_whatever_was_measured(
    loss: float, twin: float, before: float, scale: float, ablation: float, ended: Ended, epoch: int, late: bool
) -> None:
    contribution = PairedDifference(mean=ablation, standard_error=abs(before), count=9)
    slot = signals("a", Stage.BLENDING, contribution=contribution, age_epochs=3)
    it = step(
        slot,
        epoch=EPOCHS - 1 if late else epoch,
        twin=twin,
        random_guess_loss=scale,
        after=measured(loss, accuracy=before, seeds=(seed(Stage.BLENDING, contribution),)),
        before=measured(before),
        twin_before=measured(scale),
        ended=ended,
        transitions=(moved(Stage.BLENDING, Stage.CULLED), moved(Stage.BLENDING, Stage.FOSSILIZED)) * 3,
    )
    for spec in esper_reward_terms():
        module, _, name = spec.factory.partition(":")
        term = getattr(__import__(module, fromlist=[name]), name)
        options = None
        if spec.config:
            place, _, option = spec.config.partition(":")
            options = getattr(__import__(place, fromlist=[option]), option)()
        assert spec.low <= term(options).value(it) <= spec.high, spec.name
    assert credit(it, None) is None


def test_a_preset_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(EsperError, match='no preset "sparce"') as refused:
        preset("sparce")
    assert "sparse" in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_in_a_run_the_terms_sum_to_the_total_and_the_potential_to_nothing(name: str, tmp_path: Any) -> None:
    plugins = load_plugins()
    chosen = {
        "rewards.terms": preset(name),
        "rewards.gamma": GAMMA,
        "epochs": 10,
        "twin": "epochs",
        "runs": str(tmp_path),
    }
    configuration = resolve_run("digits", plugins, settings=chosen | {"host.widths": [4, 4]})

    run = execute(configuration, plugins)

    lines = (run.directory.path / "events.jsonl").read_text().splitlines()
    events = [event["data"] for event in map(json.loads, lines) if event["kind"] == "reward_computed"]
    assert len(events) == 10
    for event in events:
        assert set(event["terms"]) == set(PRESETS[name])
        assert event["total"] == pytest.approx(sum(event["terms"].values()))
    if "stage-potential" in PRESETS[name]:
        shaped = [event["terms"]["stage-potential"] for event in events]
        assert max(map(abs, shaped)) > 0.01
        assert discounted(shaped) == pytest.approx(0.0, abs=1e-9)
