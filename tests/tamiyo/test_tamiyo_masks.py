from itertools import product

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.layouts import Layout
from esper_core.leyline.learning import Round, Situation
from esper_core.leyline.observation import HostSignals, Observation, SlotState
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Stage
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.masks import GrowthLimits, Sizes, action_masks
from esper_policy_baselines.config import RandomConfig
from esper_policy_baselines.policies import RandomActor

HOST_PARAMETERS = 100
SEED_PARAMETERS = {"conv-light": 30, "depthwise": 10, "mlp": 60, "group-norm": 2, "noop": 0}
CATALOGUE = Catalogue(
    (
        CatalogueEntry(name="conv-light", layouts=frozenset({Layout.NCHW})),
        CatalogueEntry(name="depthwise", layouts=frozenset({Layout.NCHW})),
        CatalogueEntry(name="mlp", layouts=frozenset({Layout.BTD, Layout.BD})),
        CatalogueEntry(name="group-norm", layouts=frozenset(Layout)),
        CatalogueEntry(name="noop", layouts=frozenset(Layout), learnable=False),
    )
)
SHARE_PARAMETERS = 5
SIZES = Sizes(
    host_parameters=HOST_PARAMETERS,
    seed_parameters=lambda site, blueprint: SEED_PARAMETERS[blueprint],
    share_parameters=lambda site: SHARE_PARAMETERS,
)


def make_site(name: str = "a", layout: Layout = Layout.NCHW) -> Site:
    return Site(id=name, path=name, layout=layout, width=8, sample_shape=(8,) * (layout.rank - 1))


def seed_in(stage: Stage, name: str = "a", blueprint: str = "conv-light", **more: object) -> SlotState:
    parameters = SEED_PARAMETERS[blueprint]
    return SlotState(site=make_site(name), stage=stage, blueprint=blueprint, **{"parameters": parameters, **more})


@st.composite
def slot_states(draw: st.DrawFn) -> tuple[SlotState, ...]:
    states = []
    for index in range(draw(st.integers(0, 4))):
        stage = draw(st.sampled_from(Stage))
        site = make_site(f"s{index}", draw(st.sampled_from(Layout)))
        blueprint = draw(st.sampled_from(CATALOGUE.names)) if stage.holds_module else None
        arrived = draw(st.booleans())
        states.append(
            SlotState(
                site=site,
                stage=stage,
                blueprint=blueprint,
                parameters=SEED_PARAMETERS[blueprint] if blueprint and arrived else 0,
                may_fossilize=draw(st.booleans()),
            )
        )
    return tuple(states)


limits = st.builds(
    GrowthLimits,
    max_live_seeds=st.none() | st.integers(1, 4),
    max_growth_ratio=st.none() | st.floats(0.01, 2.0),
)


def possible(action: Action, states: tuple[SlotState, ...], governor: GovernorMode, limits: GrowthLimits) -> bool:
    """The rules, one action at a time."""
    rest = (states, governor, limits)
    if action.op is Op.WAIT:
        return True
    state = next((s for s in states if s.site.id == action.slot), None)
    if state is None:
        return False
    if action.op is Op.CULL:
        return state.stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY)
    if action.op is Op.FOSSILIZE:
        return governor is not GovernorMode.STOPPED and state.stage is Stage.PROBATIONARY and state.may_fossilize
    if action.blend is Blend.GATED:
        # A share costs parameters too; it is on offer where it would break no limit, wherever a seed may be germinated.
        plain = [each for each in germinations(states) if each.blend is Blend.LINEAR]
        fits = [within(each.blueprint, states, limits, SHARE_PARAMETERS) for each in plain if possible(each, *rest)]
        return possible(evolve(action, blend=Blend.LINEAR), *rest) and all(fits)
    entry = CATALOGUE[action.blueprint]
    live = [s for s in states if s.stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY)]
    return (
        state.stage is Stage.DORMANT
        and governor is GovernorMode.NORMAL
        and entry.learnable
        and state.site.layout in entry.layouts
        and (limits.max_live_seeds is None or len(live) + 1 <= limits.max_live_seeds)
        and within(entry.name, states, limits)
    )


def within(blueprint: str, states: tuple[SlotState, ...], limits: GrowthLimits, share: int = 0) -> bool:
    """A seed of this blueprint would stay within the parameter budget."""
    grown = sum(SEED_PARAMETERS[s.blueprint] for s in states if s.blueprint) + SEED_PARAMETERS[blueprint] + share
    return limits.max_growth_ratio is None or grown <= limits.max_growth_ratio * HOST_PARAMETERS


def every_action(states: tuple[SlotState, ...]) -> list[Action]:
    slots = [state.site.id for state in states]
    acting = [Action(op=op, slot=slot) for op, slot in product((Op.CULL, Op.FOSSILIZE), [*slots, "elsewhere"])]
    return [Action(), *acting, *germinations(states)]


def germinations(states: tuple[SlotState, ...]) -> list[Action]:
    slots = [*(state.site.id for state in states), "elsewhere"]
    return [
        Action(op=Op.GERMINATE, slot=slot, blueprint=name, blend=blend)
        for slot, name, blend in product(slots, CATALOGUE.names, Blend)
    ]


@settings(deadline=None)
@given(slot_states(), st.sampled_from(GovernorMode), limits)
def test_masks_allow_exactly_what_the_rules_allow(states, governor, limits):
    masks = action_masks(states, CATALOGUE, governor=governor, limits=limits, sizes=SIZES)

    for action in every_action(states):
        assert masks.allows(action) == possible(action, states, governor, limits), action


@settings(deadline=None)
@given(slot_states(), st.sampled_from(GovernorMode), limits)
def test_every_possible_operation_has_a_slot_and_every_slot_a_blueprint(states, governor, limits):
    masks = action_masks(states, CATALOGUE, governor=governor, limits=limits, sizes=SIZES)

    assert Op.WAIT in masks.ops()
    for op in masks.ops() - {Op.WAIT}:
        assert masks.slots_for(op)
    assert all(masks.blueprints_for(slot) for slot in masks.slots_for(Op.GERMINATE))
    assert masks.slots == tuple(state.site.id for state in states)
    assert masks.blueprints == CATALOGUE.names


@settings(deadline=None)
@given(st.lists(slot_states(), min_size=1, max_size=3), st.sampled_from(GovernorMode), limits, st.integers(0, 99))
def test_no_random_action_is_ever_refused(hosts, governor, limits, seed):
    masks = [action_masks(states, CATALOGUE, governor=governor, limits=limits, sizes=SIZES) for states in hosts]
    names = [str(index) for index in range(len(hosts))]
    actor = begun(0, *names, seed=seed)

    for epoch in range(5):
        seen = [evolve(it, masks=mask) for it, mask in zip(situations(epoch, *names), masks, strict=True)]
        decisions = actor.decide(seen)
        assert all(it.masks.allows(d.actions[0]) for it, d in zip(seen, decisions, strict=True))


def test_a_seed_that_has_not_arrived_counts_at_the_size_that_it_will_have():
    states = (seed_in(Stage.GERMINATED, parameters=0), SlotState(site=make_site("b")))

    masks = action_masks(states, CATALOGUE, limits=GrowthLimits(max_growth_ratio=0.4), sizes=SIZES)

    assert masks.blueprints_for("b") == {"depthwise", "group-norm"}


@pytest.mark.parametrize(("budget", "gated"), [(0.30, False), (0.34, False), (0.35, True), (0.59, True), (0.60, False)])
def test_a_gated_blend_is_on_offer_where_its_share_fits_the_budget_too(budget, gated):
    """With 30 for conv-light and 5 for the share; at 0.60 mlp is on offer, which with a share would be too large."""
    states = (SlotState(site=make_site("a")), SlotState(site=make_site("b", Layout.BD)))

    masks = action_masks(states, CATALOGUE, limits=GrowthLimits(max_growth_ratio=budget), sizes=SIZES)

    assert (Blend.GATED in masks.blends) is gated
    assert {*Blend} - {*masks.blends} <= {Blend.GATED}
    assert action_masks(states, CATALOGUE).blends == tuple(Blend)


def test_the_share_of_a_seed_that_has_not_arrived_counts():
    plain = (seed_in(Stage.GERMINATED, parameters=0), SlotState(site=make_site("b")))
    gated = (seed_in(Stage.GERMINATED, parameters=0, blend=Blend.GATED), SlotState(site=make_site("b")))

    one, other = (
        action_masks(states, CATALOGUE, limits=GrowthLimits(max_growth_ratio=0.4), sizes=SIZES)
        for states in (plain, gated)
    )

    assert "depthwise" in one.blueprints_for("b")
    assert "depthwise" not in other.blueprints_for("b")


@pytest.mark.parametrize(("ramp", "possible"), [(None, True), (0, True), (7, True), (-1, False)])
def test_a_ramp_takes_no_negative_time(ramp, possible):
    masks = action_masks((SlotState(site=make_site()),), CATALOGUE)
    action = Action(op=Op.GERMINATE, slot="a", blueprint="conv-light", blend=Blend.LINEAR, ramp_epochs=ramp)

    assert masks.allows(action) is possible


def test_a_fossil_uses_up_the_budget_but_not_the_number_of_live_seeds():
    states = (seed_in(Stage.FOSSILIZED), SlotState(site=make_site("b")))

    assert action_masks(states, CATALOGUE, limits=GrowthLimits(max_live_seeds=1)).slots_for(Op.GERMINATE) == {"b"}
    spent = action_masks(states, CATALOGUE, limits=GrowthLimits(max_growth_ratio=0.3), sizes=SIZES)
    assert spent.slots_for(Op.GERMINATE) == set()


def test_a_conservative_governor_leaves_culling_possible():
    states = (seed_in(Stage.BLENDING), SlotState(site=make_site("b")))

    masks = action_masks(states, CATALOGUE, governor=GovernorMode.CONSERVATIVE)

    assert masks.ops() == {Op.WAIT, Op.CULL}


def test_a_parameter_limit_without_sizes_is_refused():
    with pytest.raises(ValueError, match="max_growth_ratio"):
        action_masks((SlotState(site=make_site()),), CATALOGUE, limits=GrowthLimits(max_growth_ratio=1.0))


@pytest.mark.parametrize("wrong", [{"max_live_seeds": 0}, {"max_growth_ratio": 0.0}])
def test_limits_that_allow_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GrowthLimits(**wrong)


MANY = ActionMasks(
    slots=("a", "b", "c"),
    blueprints=CATALOGUE.names,
    germinate={"a": frozenset({"conv-light", "depthwise"}), "b": frozenset({"mlp"})},
    cull=frozenset({"c"}),
)


def situations(epoch: int, *hosts: str) -> list[Situation]:
    observation = Observation(host=HostSignals(epoch=epoch, epochs=10), slots=())
    return [Situation(host=host, observation=observation, masks=MANY) for host in hosts]


def draw(actor: RandomActor, epochs: range, *hosts: str) -> list[list[Action]]:
    """The one action of every host, epoch by epoch."""
    return [[action for d in actor.decide(situations(epoch, *hosts)) for action in d.actions] for epoch in epochs]


def begun(number: int, *hosts: str, seed: int = 1) -> RandomActor:
    actor = RandomActor(RandomConfig(seed=seed), CATALOGUE)
    actor.reset(Round(number=number, hosts=hosts, epochs=10))
    return actor


def test_random_actions_are_spread_evenly_over_operations_first():
    drawn = [action for (action,) in draw(begun(0, "a", seed=0), range(3000), "a")]

    share = {op: sum(action.op is op for action in drawn) / len(drawn) for op in Op}
    assert share[Op.FOSSILIZE] == 0
    assert all(abs(share[op] - 1 / 3) < 0.04 for op in (Op.WAIT, Op.GERMINATE, Op.CULL))
    grown = [action for action in drawn if action.op is Op.GERMINATE]
    assert abs(sum(action.slot == "a" for action in grown) / len(grown) - 1 / 2) < 0.06
    assert {(a.slot, a.blueprint) for a in grown} == {("a", "conv-light"), ("a", "depthwise"), ("b", "mlp")}
    assert {action.blend for action in grown} == set(Blend)


def test_what_is_drawn_depends_on_seed_round_host_and_epoch_alone():
    whole = draw(begun(0, "a"), range(20), "a")

    assert [row[:1] for row in draw(begun(0, "a", "b"), range(20), "a", "b")] == whole
    assert draw(begun(0, "a"), range(10, 20), "a") == whole[10:]
    assert draw(begun(1, "a"), range(20), "a") != whole


def test_a_host_that_is_no_longer_in_training_changes_nothing_for_the_others():
    both = draw(begun(0, "a", "b"), range(20), "a", "b")

    assert draw(begun(0, "a", "b"), range(20), "b") == [row[1:] for row in both]


def test_the_random_actor_refuses_a_host_that_is_none_of_the_rounds():
    with pytest.raises(ValueError, match="not in tuple"):
        begun(0, "a").decide(situations(0, "b"))


def test_the_null_actor_always_waits():
    actor = NullActor()
    actor.reset(Round(hosts=("a", "b"), epochs=10))

    assert [decision.actions for decision in actor.decide(situations(3, "a", "b"))] == [(), ()]
