"""What growing gains is weighed against what its floating-point operations are worth to the host."""

from math import log
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    Compute,
    EsperError,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    Op,
    Round,
    Site,
    Situation,
    SlotSignals,
    SlotState,
    Stage,
)
from esper_policy_compute.account import account
from esper_policy_compute.config import ComputeConfig
from esper_policy_compute.policy import ComputePolicy

SITES = [
    Site(id=f"block{n}", path=str(n), layout=Layout.NCHW, width=4, sample_shape=(4, 8, 8), depth=n) for n in (0, 1)
]
CATALOGUE = Catalogue(tuple(CatalogueEntry(name=name, layouts=(Layout.NCHW,)) for name in ("noop", "conv-light")))

#: Ten epochs of 100 FLOPs; a seed germinated before the sixth one, and what it costs makes two epochs of the host.
COMPUTE = Compute(training=1000, candidates=120, probes=50, evaluation=77, counterfactuals=30)
LOSSES = (2.3, 2.0, 1.8, 1.7, 1.6, 1.5, 1.45, 1.4, 1.35, 1.3)


def seed(site: Site, **changes: Any) -> SlotSignals:
    facts = {"stage": Stage.PROBATIONARY, "blueprint": "conv-light", "age_epochs": 5, "settled_epochs": 3, "alpha": 1.0}
    return SlotSignals(state=SlotState(site=site, **(facts | changes)))


def free(site: Site, **changes: Any) -> SlotSignals:
    return SlotSignals(state=SlotState(site=site, **changes))


def host(twin: float | None = 1.4, **changes: Any) -> HostSignals:
    facts: dict[str, Any] = {
        "epoch": 10,
        "epochs": 40,
        "curves": LearningCurves(validation_losses=LOSSES),
        "parameters": 120,
        "host_parameters": 100,
        "twin_validation_loss": twin,
        "compute": COMPUTE,
    }
    return HostSignals(**(facts | changes))


def decided(slots: list[SlotSignals], seen: HostSignals, **options: Any) -> Action:
    live = frozenset(slot.slot for slot in slots if slot.state.stage.live)
    empty = [slot.slot for slot in slots if slot.state.stage is Stage.DORMANT]
    masks = ActionMasks(
        slots=tuple(slot.slot for slot in slots),
        blueprints=CATALOGUE.names,
        germinate={slot: frozenset(CATALOGUE.names) for slot in empty},
        cull=live,
        fossilize=frozenset(slot.slot for slot in slots if slot.state.may_fossilize),
    )
    policy = ComputePolicy(ComputeConfig(**options), CATALOGUE)
    policy.reset(Round(hosts=("h",), epochs=40))
    situation = Situation(host="h", observation=Observation(host=seen, slots=tuple(slots)), masks=masks)
    (decision,) = policy.decide([situation])
    (action,) = decision.actions
    return action


def test_the_bill_is_what_the_host_would_have_made_of_the_operations():
    found = account(host(), [seed(SITES[1]), free(SITES[0])], {})
    assert found is not None
    assert found.epochs == pytest.approx(2.0)
    assert found.gain == pytest.approx(1.4 - 1.3)
    # After five epochs, before the seed, the loss was 1.6; the twin came to 1.4 in as many more.
    assert found.slope == pytest.approx((1.6 - 1.4) / log(10 / 5))
    assert found.price == pytest.approx(found.slope * log(12 / 10))


def test_a_curve_that_flattens_out_is_priced_by_its_second_half():
    """What is remembered of the twin between the first seed and now makes the price lower, and never higher."""
    slots = [seed(SITES[1], age_epochs=8)]
    straight = account(host(), slots, {})
    assert straight.slope == pytest.approx((2.0 - 1.4) / log(10 / 2))  # nothing is known between
    flat = {3: 1.8, 4: 1.6, 5: 1.5, 6: 1.47, 7: 1.43, 8: 1.42, 9: 1.41}
    found = account(host(), slots, flat)
    assert found.slope == pytest.approx((1.5 - 1.4) / log(10 / 5))
    assert found.price == pytest.approx(found.slope * log(12 / 10))
    assert found.price < straight.price
    assert found.gain == straight.gain
    # Growing has cost 15 epochs: the stretch that is as long in the logarithm begins after the fourth epoch.
    dear = account(host(compute=evolve(COMPUTE, candidates=1420)), slots, flat)
    assert dear.slope == pytest.approx((1.6 - 1.4) / log(2.5))
    # No longer than since the first seed.
    dearest = account(host(compute=evolve(COMPUTE, candidates=10**5)), slots, flat)
    assert dearest.slope == pytest.approx((2.0 - 1.4) / log(10 / 2))
    # Between two epochs the loss is taken along a straight line in the logarithm.
    between = account(host(compute=evolve(COMPUTE, candidates=1100)), slots, flat)
    begun = 10 / 2.18
    at = 1.6 + (1.5 - 1.6) * log(begun / 4) / log(5 / 4)
    assert between.slope == pytest.approx((at - 1.4) / log(2.18))


def test_the_twins_losses_are_remembered_and_come_back_with_a_resumed_run():
    def policy():
        made = ComputePolicy(ComputeConfig(), CATALOGUE)
        made.reset(Round(hosts=("h",), epochs=40))
        return made

    def action(made, seen, slots):
        masks = ActionMasks(
            slots=tuple(it.slot for it in slots), blueprints=CATALOGUE.names, cull=frozenset(["block1"])
        )
        situation = Situation(host="h", observation=Observation(host=seen, slots=tuple(slots)), masks=masks)
        return made.decide([situation])[0].actions[0]

    seen, forgetful, resumed = policy(), policy(), policy()
    for epoch, loss in ((5, 1.43), (8, 1.42), (9, 1.41)):
        action(seen, evolve(host(loss), epoch=epoch), [free(SITES[1])])
    resumed.restore(seen.state())
    slots = [seed(SITES[1], age_epochs=8)]
    (one, other, third) = (action(it, host(1.4), slots) for it in (seen, resumed, forgetful))
    assert one == other
    assert one.reason != third.reason
    seen.reset(Round(hosts=("h",), epochs=40))
    assert action(seen, host(1.4), slots) == third


@pytest.mark.parametrize(
    ("changes", "slots"),
    [
        ({}, [free(SITES[0])]),
        ({}, [seed(SITES[1]), seed(SITES[0], stage=Stage.FOSSILIZED)]),
        ({"twin_validation_loss": None}, [seed(SITES[1])]),
        ({"compute": None}, [seed(SITES[1])]),
        ({"compute": evolve(COMPUTE, probes=None)}, [seed(SITES[1])]),
        ({"compute": evolve(COMPUTE, training=None)}, [seed(SITES[1])]),
        ({"curves": LearningCurves(validation_losses=LOSSES[-3:])}, [seed(SITES[1])]),
        ({"curves": LearningCurves(validation_losses=(*LOSSES[:4], None, *LOSSES[5:]))}, [seed(SITES[1])]),
        ({}, [seed(SITES[1], age_epochs=10)]),
    ],
)
def test_what_is_not_known_makes_no_bill(changes, slots):
    assert account(evolve(host(), **changes), slots, {}) is None


@given(st.floats(1.0, 2.0), st.integers(0, 10**6))
def test_whatever_growing_costs_more_its_price_is_not_lower(twin, candidates):
    cheap, dear = (
        account(host(twin, compute=evolve(COMPUTE, candidates=cost)), [seed(SITES[1])], {}) for cost in (0, candidates)
    )
    assert 0.0 <= cheap.price <= dear.price
    assert cheap.gain == dear.gain


def test_growing_goes_on_where_it_gains_more_than_it_costs():
    action = decided([free(SITES[0]), seed(SITES[1])], host(1.4))
    assert (action.op, action.slot, action.blueprint) == (Op.GERMINATE, "block0", "conv-light")
    assert "growing pays: gain +0.1000 nats; the same FLOPs, 2.0 epochs of the host, are worth +0.0526" in action.reason


def test_growing_is_refused_where_the_host_makes_more_of_it():
    """The same gain, and a host that is still falling steeply."""
    steep = host(1.4, curves=LearningCurves(validation_losses=(*LOSSES[:4], 3.0, *LOSSES[5:])))
    early = decided([free(SITES[0]), seed(SITES[1])], steep)
    assert early.op is Op.WAIT
    assert "does not pay yet" in early.reason
    action = decided([free(SITES[0]), seed(SITES[1])], steep, refuse_from=0.25)
    assert (action.op, action.slot) == (Op.CULL, "block1")
    assert "growing does not pay" in action.reason
    given_up = [free(SITES[0]), free(SITES[1], culled_blueprints=("conv-light",))]
    action = decided(given_up, steep)
    assert action.op is Op.WAIT
    assert "given up" in action.reason
    assert decided(given_up, steep, trials=2).op is Op.GERMINATE


def test_a_gain_within_the_margin_neither_grows_on_nor_ends_the_trial():
    assert decided([free(SITES[0]), seed(SITES[1])], host(1.4), margin=1.0).op is Op.WAIT


def test_it_does_not_judge_before_all_seeds_have_settled():
    unsettled = [seed(SITES[0], settled_epochs=2), seed(SITES[1])]
    action = decided(unsettled, host(1.2))
    assert (action.op, action.reason) == (Op.WAIT, "the seeds on trial are not settled yet")
    assert decided(unsettled, host(1.2), judge_after=2, refuse_from=0.0).op is Op.CULL


def test_a_trial_is_one_seed_in_the_deepest_slot():
    action = decided([free(SITES[0]), free(SITES[1])], host())
    assert (action.op, action.slot, action.blueprint, action.reason) == (
        Op.GERMINATE,
        "block1",
        "conv-light",
        "a trial",
    )
    assert decided([free(SITES[0]), free(SITES[1])], host(), preference=("noop",)).blueprint == "noop"


@pytest.mark.parametrize(
    ("seen", "options", "why"),
    [
        ({"epoch": 1}, {}, "nothing is tried before 10 %"),
        ({"epoch": 20}, {}, "too late for a trial"),
        ({"epoch": 0}, {"trial_from": 0.0}, "nothing is tried before"),
        ({"twin_validation_loss": None}, {}, "no twin of equal epochs"),
        ({"compute": None}, {}, "cannot be counted"),
        ({"parameters": 400}, {}, "nothing can be germinated"),
        ({"parameters": 200}, {"factor": 2.0}, "nothing can be germinated"),
    ],
)
def test_a_trial_that_could_tell_nothing_is_not_begun(seen, options, why):
    action = decided([free(SITES[0]), free(SITES[1])], evolve(host(), **seen), **options)
    assert action.op is Op.WAIT
    assert why in action.reason


def test_with_no_slot_left_what_has_passed_its_last_gate_is_kept():
    full = [seed(SITES[0], may_fossilize=True), seed(SITES[1])]
    assert decided(full, host(1.4)).slot == "block0"
    assert decided(full, host(1.4)).op is Op.FOSSILIZE
    late = [free(SITES[0]), seed(SITES[1], may_fossilize=True)]
    assert decided(late, host(1.4)).op is Op.GERMINATE
    assert decided(late, host(1.4), trial_until=0.2, grow_until=0.2).op is Op.FOSSILIZE


def test_what_a_gate_calls_harmful_goes_first():
    assert decided([free(SITES[0]), seed(SITES[1], harmful=True)], host(1.4)).op is Op.CULL


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="trial_from"):
        ComputeConfig(trial_from=0.3)
    with pytest.raises(ValueError, match="factor"):
        ComputeConfig(factor=1.0)
    with pytest.raises(EsperError, match='"conv-lite" is not in the catalogue'):
        ComputePolicy(ComputeConfig(preference=("conv-lite",)), CATALOGUE)
