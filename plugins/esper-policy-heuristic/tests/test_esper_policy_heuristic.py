from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.api import (
    WINDOW_EPOCHS,
    Action,
    ActionMasks,
    Actor,
    Blend,
    Catalogue,
    CatalogueEntry,
    EsperError,
    GateLevel,
    GateResult,
    GovernorMode,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    Op,
    PairedDifference,
    Round,
    SeedEvidence,
    Site,
    Situation,
    SlotSignals,
    SlotState,
    Stage,
)

NCHW, BTD = frozenset({Layout.NCHW}), frozenset({Layout.BTD})
CATALOGUE = Catalogue(
    (
        CatalogueEntry(name="noop", layouts=frozenset(Layout), learnable=False),
        CatalogueEntry(name="group-norm", layouts=NCHW),
        CatalogueEntry(name="acme", layouts=NCHW),
        CatalogueEntry(name="depthwise", layouts=NCHW),
        CatalogueEntry(name="conv-light", layouts=NCHW),
        CatalogueEntry(name="lora", layouts=BTD),
        CatalogueEntry(name="attention", layouts=BTD),
    )
)


@cache
def parts() -> tuple[Any, Any]:
    (entry,) = entry_points(group="esper", name="policy-heuristic")
    (spec,) = entry.load().esper_policies()
    return resolve_name(spec.factory), resolve_name(spec.config)


def build(catalogue: Catalogue = CATALOGUE, **options: Any) -> Actor:
    factory, config = parts()
    return factory(config(**options), catalogue)


def difference(mean: float, standard_error: float = 0.01) -> PairedDifference:
    return PairedDifference(mean=mean, standard_error=standard_error, count=400)


def slot(
    name: str,
    stage: Stage = Stage.DORMANT,
    *,
    layout: Layout = Layout.NCHW,
    depth: float = 0.5,
    contribution: PairedDifference | None = None,
    **state: Any,
) -> SlotSignals:
    site = Site(id=name, path=name, layout=layout, width=8, sample_shape=(8,), depth=depth)
    evidence = None
    if contribution is not None:
        evidence = SeedEvidence(
            slot=name,
            seed_id=f"{name}-0",
            blueprint="conv-light",
            stage=stage,
            epochs_in_stage=1,
            age_epochs=1,
            alpha=1.0,
            contribution=contribution,
        )
    return SlotSignals(state=SlotState(site=site, stage=stage, **state), evidence=evidence)


def host(
    epoch: int = 8,
    train: float | None = 0.7,
    validation: float | None = 0.69,
    train_losses: Sequence[float | None] = (),
    **signals: Any,
) -> HostSignals:
    curves = LearningCurves(
        train_accuracies=(train,), validation_accuracies=(validation,), train_losses=tuple(train_losses)
    )
    return HostSignals(epoch=epoch, **({"epochs": 40} | signals), curves=curves)


def masks_of(
    slots: Sequence[SlotSignals], fossilize: Sequence[str] = (), catalogue: Catalogue = CATALOGUE
) -> ActionMasks:
    fitting = {
        layout: frozenset(entry.name for entry in catalogue if entry.learnable and layout in entry.layouts)
        for layout in Layout
    }
    return ActionMasks(
        slots=tuple(s.slot for s in slots),
        blueprints=catalogue.names,
        germinate={s.slot: fitting[s.state.site.layout] for s in slots if s.state.stage is Stage.DORMANT},
        cull=frozenset(s.slot for s in slots if s.state.stage.live),
        fossilize=frozenset(fossilize),
    )


def ask(policy: Actor, seen: Observation, masks: ActionMasks) -> Action:
    ((action,),) = (d.actions for d in policy.decide([Situation(host="h", observation=seen, masks=masks)]))
    return action


def decide(seen: HostSignals, *slots: SlotSignals, fossilize: Sequence[str] = (), **options: Any) -> Action:
    masks = masks_of(slots, fossilize)
    action = ask(build(**options), Observation(host=seen, slots=slots), masks)
    assert masks.allows(action)
    assert action.reason
    return action


@define
class Seed:
    """A slot's seed in a scripted run."""

    blueprint: str
    born: int
    fossil: bool = False
    ended: int | None = None


@define
class Script:
    """A host with given training accuracies whose seeds live through fixed stages: what a policy does in a whole run.

    A seed is GERMINATED and TRAINING for an epoch each, BLENDING for three; then it contributes what is scripted for
    its slot and may be fossilized, if that is positive, after four epochs. A culled slot rests for five epochs.
    """

    train: Callable[[int], float]
    gap: float = 0.02
    depths: dict[str, float] = field(factory=lambda: {"first": 0.3, "second": 0.6, "third": 1.0})
    epochs: int = 40
    contributions: dict[str, float] = field(factory=dict)
    harmful: frozenset[str] = frozenset()
    layout: Layout = Layout.NCHW
    seeds: dict[str, Seed] = field(factory=dict)
    culled: dict[str, tuple[str, ...]] = field(factory=dict)

    def run(self, policy: Actor) -> list[Action]:
        policy.reset(Round(hosts=("h",), epochs=self.epochs))
        actions = []
        for epoch in range(self.epochs):
            slots = tuple(self._signals(name, epoch) for name in self.depths)
            ready = [s.slot for s in slots if s.state.stage is Stage.PROBATIONARY and s.state.settled_epochs >= 4]
            masks = masks_of(slots, [name for name in ready if self._contribution(name) > 0])
            action = ask(policy, Observation(host=self._host(epoch), slots=slots), masks)
            assert masks.allows(action)
            self._apply(action, epoch)
            actions.append(action)
        return actions

    def _host(self, epoch: int) -> HostSignals:
        if epoch == 0:
            return host(0, None, None, epochs=self.epochs)
        accuracies = [self.train(past) for past in range(epoch)]
        losses = tuple(2.3 * (1.0 - accuracy) for accuracy in accuracies)
        return host(epoch, accuracies[-1], accuracies[-1] - self.gap, epochs=self.epochs, train_losses=losses)

    def _contribution(self, name: str) -> float:
        return self.contributions.get(name, 0.1)

    def _signals(self, name: str, epoch: int) -> SlotSignals:
        seed = self.seeds.get(name)
        signals: dict[str, Any] = {"depth": self.depths[name], "culled_blueprints": self.culled.get(name, ())}
        if seed is not None and seed.ended is not None and epoch - seed.ended <= 5:
            return slot(name, Stage.EMBARGOED, layout=self.layout, **signals)
        if seed is None or seed.ended is not None:
            return slot(name, layout=self.layout, **signals)
        age = epoch - seed.born
        stages = [Stage.GERMINATED, Stage.TRAINING, *[Stage.BLENDING] * 3]
        stage = Stage.FOSSILIZED if seed.fossil else stages[age] if age < len(stages) else Stage.PROBATIONARY
        if stage.contributes:
            signals |= {"contribution": difference(self._contribution(name)), "settled_epochs": max(0, age - 5)}
        harmful = name in self.harmful and stage is Stage.BLENDING
        return slot(name, stage, layout=self.layout, blueprint=seed.blueprint, harmful=harmful, **signals)

    def _apply(self, action: Action, epoch: int) -> None:
        if action.op is Op.GERMINATE:
            self.seeds[action.slot] = Seed(blueprint=action.blueprint, born=epoch)
        if action.op is Op.FOSSILIZE:
            self.seeds[action.slot].fossil = True
        if action.op is Op.CULL:
            self.seeds[action.slot].ended = epoch
            self.culled[action.slot] = (*self.culled.get(action.slot, ()), self.seeds[action.slot].blueprint)


def did(actions: Sequence[Action], op: Op) -> list[tuple[int, str]]:
    return [(epoch, action.slot) for epoch, action in enumerate(actions) if action.op is op]


def underfitting(epoch: int) -> float:
    return 0.1 + 0.6 * (1 - 0.9 ** (epoch - 1))


def test_an_underfitting_host_gets_a_seed_in_every_slot_at_once_deepest_first():
    actions = Script(train=underfitting).run(build())

    grown = did(actions, Op.GERMINATE)
    assert [name for _, name in grown] == ["third", "second", "first"]
    assert [epoch for epoch, _ in grown] == [2, 3, 4]
    assert {action.blueprint for action in actions if action.op is Op.GERMINATE} == {"conv-light"}
    assert did(actions, Op.FOSSILIZE) == [(11, "third"), (12, "second"), (13, "first")]
    assert not did(actions, Op.CULL)
    assert all(action.reason for action in actions)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize(("layout", "blueprint"), [(Layout.NCHW, "conv-light"), (Layout.BTD, "attention")])
def test_layout_and_number_of_slots_make_no_difference(count, layout, blueprint):
    depths = {f"s{index}": index / count for index in range(count)}

    actions = Script(train=underfitting, depths=depths, layout=layout).run(build())

    assert [name for _, name in did(actions, Op.GERMINATE)] == list(reversed(depths))
    assert {action.blueprint for action in actions if action.op is Op.GERMINATE} == {blueprint}
    assert len(did(actions, Op.FOSSILIZE)) == count


#: Training accuracies of small hosts on scikit-learn's digits after epochs 1, 2, ... of 40.
MEASURED = {
    "(4,8) AdamW": [0.12, 0.28, 0.35, 0.58, 0.68, 0.78, 0.81, 0.84, 0.87, 0.90, 0.90, 0.90, 0.91, 0.93, 0.93, 0.94],
    "(4,8) SGD": [0.14, 0.33, 0.50, 0.75, 0.83, 0.84, 0.90, 0.92, 0.92, 0.92, 0.94, 0.96, 0.96, 0.97, 0.97, 0.97],
    "(8,16,32) AdamW": [0.39, 0.77, 0.90, 0.94, 0.98, 0.98, 0.98, 0.99, 0.99, 0.99, 0.99, 0.99, 1.0, 1.0, 1.0, 1.0],
    "(4,8,16) SGD": [0.23, 0.46, 0.68, 0.85, 0.93, 0.94, 0.96, 0.98, 0.98, 0.99, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0],
    "(16,32,64) SGD": [0.26, 0.64, 0.91, 0.97, 0.99, 0.98, 0.90, 0.98, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize(
    ("name", "pays"),
    [
        ("(4,8) AdamW", True),
        ("(4,8) SGD", True),
        ("(8,16,32) AdamW", False),
        ("(4,8,16) SGD", False),
        ("(16,32,64) SGD", False),
    ],
)
def test_real_hosts_are_grown_where_growing_pays(name, pays):
    curve = MEASURED[name]

    actions = Script(train=lambda epoch: curve[min(epoch, len(curve) - 1)]).run(build())

    assert bool(did(actions, Op.GERMINATE)) is pays
    assert all(epoch <= 10 for epoch, _ in did(actions, Op.GERMINATE))


def test_slots_follow_the_first_seed_at_once_even_where_the_bar_is_still_low():
    seen = host(3, train=0.5, validation=0.5)

    assert decide(seen, slot("a")).op is Op.WAIT
    assert decide(seen, slot("a"), slot("b", Stage.TRAINING)).op is Op.GERMINATE


def test_a_host_that_fits_is_left_alone_and_the_reason_says_so():
    action = decide(host(8, train=0.97, validation=0.95), slot("a"))

    assert action.op is Op.WAIT
    assert "does not underfit" in action.reason
    assert "0.970" in action.reason


def test_a_host_that_overfits_is_left_alone():
    action = decide(host(8, train=0.8, validation=0.6), slot("a"))

    assert action.op is Op.WAIT
    assert "overfits" in action.reason


@pytest.mark.parametrize("missing", [{"train": None}, {"validation": None}])
def test_nothing_is_germinated_on_what_is_not_known(missing):
    action = decide(host(8, **missing), slot("a"))

    assert action.op is Op.WAIT
    assert "not known" in action.reason


def test_nothing_is_germinated_in_the_first_epochs_or_late():
    for epoch, words in ((1, "before 5 %"), (20, "too late"), (39, "too late")):
        action = decide(host(epoch, train=0.1, validation=0.1), slot("a"))
        assert action.op is Op.WAIT
        assert words in action.reason


def test_a_host_that_stops_fitting_late_gets_nothing():
    actions = Script(train=lambda epoch: 0.97 if epoch < 20 else 0.5).run(build())

    assert {action.op for action in actions} == {Op.WAIT}


def losses(*values: float | None) -> tuple[float | None, ...]:
    return values


def test_between_the_early_part_and_half_of_the_run_only_a_plateau_calls_for_a_seed():
    falling = losses(1.0, 0.9, 0.8, 0.7, 0.6)
    stalled = losses(1.0, 0.7, 0.7, 0.695, 0.699)

    assert decide(host(17, train_losses=falling), slot("a")).op is Op.WAIT
    assert decide(host(17, train_losses=stalled), slot("a")).op is Op.GERMINATE
    assert decide(host(20, train_losses=stalled), slot("a")).op is Op.WAIT


@pytest.mark.parametrize(
    "unknown", [losses(), losses(0.7, 0.7), losses(0.7, 0.7, None, 0.7), losses(None, 0.7, 0.7, 0.7)]
)
def test_a_plateau_needs_losses_that_are_known(unknown):
    assert decide(host(17, train_losses=unknown), slot("a")).op is Op.WAIT


def test_a_harmful_seed_is_culled_at_any_time_and_another_blueprint_is_tried_next():
    script = Script(train=underfitting, depths={"only": 1.0}, harmful=frozenset({"only"}))

    actions = script.run(build())

    assert did(actions, Op.GERMINATE)[:2] == [(2, "only"), (10, "only")]
    assert did(actions, Op.CULL)[0] == (4, "only")
    tried = [action.blueprint for action in actions if action.op is Op.GERMINATE]
    assert tried == ["conv-light", "depthwise"]
    assert did(actions, Op.CULL)[1] == (12, "only")
    assert decide(host(39), slot("a", Stage.BLENDING, harmful=True)).op is Op.CULL


def test_a_seed_of_no_use_is_culled_once_it_has_settled():
    def seed(settled: int, contribution: PairedDifference | None) -> SlotSignals:
        return slot("a", Stage.PROBATIONARY, settled_epochs=settled, contribution=contribution)

    assert decide(host(30), seed(2, difference(-0.05))).op is Op.WAIT
    assert decide(host(30), seed(3, difference(-0.05))).op is Op.CULL
    assert decide(host(30), seed(3, difference(-0.01))).op is Op.WAIT
    assert decide(host(30), seed(3, difference(0.05))).op is Op.WAIT
    assert decide(host(30), seed(9, None)).op is Op.WAIT


def test_every_live_seed_is_looked_after_not_only_the_first():
    slots = (
        slot("a", Stage.TRAINING),
        slot("b", Stage.BLENDING, harmful=True),
        slot("c", Stage.PROBATIONARY, settled_epochs=5, contribution=difference(-0.1)),
        slot("d", Stage.PROBATIONARY, settled_epochs=5, contribution=difference(0.1)),
        slot("e"),
    )
    seen = host(8)

    assert decide(seen, *slots, fossilize=["d"]).slot == "d"
    assert decide(seen, *slots).slot == "b"
    assert decide(seen, slots[0], slots[2], slots[3], slots[4]).slot == "c"
    assert decide(seen, slots[0], slots[3], slots[4]) == decide(seen, slots[4])
    assert "needs anything: 2" in decide(seen, slots[0], slots[3]).reason


def test_the_reason_for_waiting_names_a_governor_that_holds_back():
    seen = host(8, governor=GovernorMode.CONSERVATIVE)

    masks = evolve(masks_of([slot("a")]), germinate={})
    action = ask(build(), Observation(host=seen, slots=(slot("a"),)), masks)

    assert "the governor is conservative" in action.reason


def test_of_several_seeds_the_one_that_contributes_most_surely_is_fossilized_first():
    weak = slot("a", Stage.PROBATIONARY, contribution=difference(0.2, 0.1))
    sure = slot("b", Stage.PROBATIONARY, contribution=difference(0.1, 0.01))

    assert decide(host(8), weak, sure, fossilize=["a", "b"]).slot == "b"
    assert decide(host(8), slot("c", Stage.PROBATIONARY), sure, fossilize=["b", "c"]).slot == "b"


def test_slots_that_have_lost_a_seed_come_after_the_others():
    deep = slot("deep", depth=1.0, culled_blueprints=("conv-light",))

    assert decide(host(8), slot("shallow", depth=0.2), deep).slot == "shallow"


def test_blueprints_are_tried_by_preference_then_in_the_catalogues_order():
    def tried(*culled: str, **options: Any) -> str | None:
        return decide(host(8), slot("a", culled_blueprints=culled), **options).blueprint

    assert tried() == "conv-light"
    assert tried("conv-light") == "depthwise"
    assert tried("conv-light", "depthwise") == "conv-light"
    assert tried("conv-light", "depthwise", "conv-light") == "group-norm"
    assert tried("conv-light", cull_penalty=0.5) == "conv-light"
    assert tried("conv-light", "depthwise", cull_penalty_decay=1.0) == "group-norm"
    assert tried(*["conv-light", "depthwise", "group-norm"] * 3, cull_penalty_decay=1.0) == "acme"


def test_a_cull_in_one_slot_counts_in_the_others():
    resting = slot("a", Stage.EMBARGOED, culled_blueprints=("conv-light",))

    assert decide(host(8), resting, slot("b")).blueprint == "depthwise"


def test_an_explicit_preference_is_the_whole_list():
    assert decide(host(8), slot("a"), preference=("acme", "conv-light")).blueprint == "acme"
    action = decide(host(8), slot("a"), preference=("lora",))
    assert action.op is Op.WAIT
    assert "nothing can be germinated" in action.reason


def test_an_explicit_preference_for_what_is_not_in_the_catalogue_is_an_error():
    with pytest.raises(EsperError) as caught:
        build(preference=("conv-lite",))

    assert caught.value.code == "E204"
    assert "conv-lite" in str(caught.value)
    assert 'did you mean "conv-light"?' in str(caught.value)


def test_the_blend_is_the_one_asked_for():
    assert decide(host(8), slot("a")).blend is Blend.LINEAR
    assert decide(host(8), slot("a"), blend="cosine").blend is Blend.COSINE
    assert decide(host(8), slot("a"), blend="gated").blend is Blend.GATED


def test_the_ramp_is_as_long_as_asked_for():
    assert decide(host(8), slot("a")).ramp_epochs is None
    assert decide(host(8), slot("a"), ramp_epochs=0).ramp_epochs == 0
    assert decide(host(8), slot("a"), ramp_epochs=6).ramp_epochs == 6


OPTIONS = [
    ("germinate_from", 0.3, host(8)),
    ("germinate_until", 0.1, host(8)),
    ("fit_accuracy", 0.5, host(8)),
    ("fit_by", 0.9, host(8, train=0.7)),
    ("max_accuracy_gap", 0.001, host(8)),
    ("plateau_until", 0.0, host(17, train_losses=losses(0.7, 0.7, 0.7, 0.7))),
    ("plateau_epochs", 4, host(17, train_losses=losses(0.7, 0.7, 0.7, 0.7))),
    ("plateau_improvement", 0.001, host(17, train_losses=losses(0.7, 0.69, 0.69, 0.69))),
]


@pytest.mark.parametrize(("option", "value", "seen"), OPTIONS)
def test_every_threshold_of_germination_decides_something(option, value, seen):
    assert decide(seen, slot("a")).op is Op.GERMINATE
    assert decide(seen, slot("a"), **{option: value}).op is Op.WAIT


@pytest.mark.parametrize(("option", "value"), [("settle_epochs", 6), ("useless_confidence", 0.999)])
def test_every_threshold_of_culling_decides_something(option, value):
    seed = slot("a", Stage.PROBATIONARY, settled_epochs=5, contribution=difference(-0.02))

    assert decide(host(8), seed).op is Op.CULL
    assert decide(host(8), seed, **{option: value}).op is Op.WAIT


@pytest.mark.parametrize(
    "wrong",
    [
        {"germinate_until": 0.8},
        {"germinate_from": 0.5},
        {"plateau_until": 0.6},
        {"plateau_epochs": 0},
        {"plateau_epochs": WINDOW_EPOCHS},
        {"fit_accuracy": 1.5},
        {"useless_confidence": 0.3},
        {"cull_penalty": -1.0},
        {"preference": ()},
        {"preference": ("conv-light", "conv-light")},
        {"blend": "zigzag"},
        {"ramp_epochs": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "blend" not in wrong else "zigzag"):
        build(**wrong)


accuracies = st.none() | st.floats(0.0, 1.0)
differences = st.none() | st.builds(
    PairedDifference, mean=st.floats(-1.0, 1.0), standard_error=st.floats(0.0, 0.5), count=st.integers(2, 500)
)
NAMES = ("a", "b", "c")
any_slots = st.tuples(
    *(
        st.builds(
            slot,
            st.just(name),
            st.sampled_from(Stage),
            layout=st.sampled_from(Layout),
            depth=st.floats(0.0, 1.0),
            contribution=differences,
            settled_epochs=st.integers(0, 9),
            next_gate=st.none()
            | st.builds(GateResult, gate=st.just(GateLevel.G3), passed=st.booleans(), score=st.floats(0.0, 1.0)),
            harmful=st.booleans(),
            culled_blueprints=st.lists(st.sampled_from(CATALOGUE.names), max_size=4).map(tuple),
        )
        for name in NAMES
    )
)
any_observation = st.builds(
    Observation,
    host=st.builds(
        host,
        epoch=st.integers(0, 40),
        epochs=st.integers(1, 40),
        train=accuracies,
        validation=accuracies,
        train_losses=st.lists(st.none() | st.floats(0.0, 5.0), max_size=8),
        governor=st.sampled_from(GovernorMode),
    ),
    slots=any_slots,
)
some_names = st.frozensets(st.sampled_from(NAMES))
any_masks = st.builds(
    ActionMasks,
    slots=st.just(NAMES),
    blueprints=st.just(CATALOGUE.names),
    germinate=st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(CATALOGUE.names))),
    cull=some_names,
    fossilize=some_names,
    blends=st.lists(st.sampled_from(Blend), unique=True).map(tuple),
)


@settings(deadline=None)
@given(st.lists(st.tuples(any_observation, any_masks), max_size=4), st.sampled_from([None, ("acme", "lora")]))
def test_any_action_is_allowed_explained_and_depends_on_its_host_alone(hosts, preference):
    policy = build(preference=preference)
    names = tuple(f"h{index}" for index in range(len(hosts)))
    policy.reset(Round(hosts=names, epochs=40))

    decisions = policy.decide(
        [Situation(host=name, observation=seen, masks=masks) for name, (seen, masks) in zip(names, hosts, strict=True)]
    )

    assert len(decisions) == len(hosts)
    for decision, (seen, masks) in zip(decisions, hosts, strict=True):
        (action,) = decision.actions
        assert masks.allows(action)
        assert action.reason
        assert action.confidence is None or 0.0 <= action.confidence <= 1.0
        assert ask(build(preference=preference), seen, masks) == action


@pytest.mark.parametrize("most", [1, 2, 5])
def test_germinates_in_several_slots_at_once_where_that_is_asked_for(most: int) -> None:
    slots = [slot(name, depth=depth) for name, depth in (("a", 0.3), ("b", 0.6), ("c", 0.9))]
    masks = masks_of(slots)
    policy = build(germinations=most)
    (decision,) = policy.decide([Situation(host="h", observation=Observation(host=host(), slots=slots), masks=masks)])
    assert [action.slot for action in decision.actions] == ["c", "b", "a"][:most]
    assert all(action.op is Op.GERMINATE and masks.allows(action) and action.reason for action in decision.actions)


def test_what_is_no_germination_stands_alone() -> None:
    slots = [slot("a"), slot("b", Stage.PROBATIONARY), slot("c")]
    seen = Observation(host=host(), slots=slots)
    action = ask(build(germinations=3), seen, masks_of(slots, fossilize=["b"]))
    assert (action.op, action.slot) == (Op.FOSSILIZE, "b")
