"""A growing host: the same seed gives the same host, a restored one goes on as if nothing had been."""

import math
from functools import partial

import pytest
import torch
from attrs import evolve
from torch import Tensor, nn

from esper_core.leyline.actions import WAIT, Action, GovernorMode, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.stages import Blend, Stage
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.state import capture, restore

#: One seed that is fossilized, one that draws random numbers and is culled, and one that follows it.
SCRIPT = {
    1: Action(op=Op.GERMINATE, slot="block1", blueprint="tanh", blend=Blend.LINEAR),
    2: Action(op=Op.GERMINATE, slot="block0", blueprint="random", blend=Blend.COSINE),
    4: Action(op=Op.CULL, slot="block0"),
    5: Action(op=Op.FOSSILIZE, slot="block1"),
    8: Action(op=Op.GERMINATE, slot="block0", blueprint="tanh", blend=Blend.SIGMOID),
}


def live(host, until, states=None):
    """Run the script up to epoch `until` and return all reports as plain data without their times."""
    reports = []
    while host.grower.epoch < until:
        if states is not None:
            states.append(capture(host))
        applied = host.apply(SCRIPT.get(host.grower.epoch, WAIT))
        assert applied.verdict.allowed, applied.verdict.reason
        reports.append([timeless(plain(applied)), timeless(plain(host.epoch()))])
    return reports


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key != "seconds"}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def tensors(host):
    return capture(host).tensors


def assert_equal_hosts(first, second):
    a, b = tensors(first), tensors(second)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
        assert a[name].stride() == b[name].stride(), name


def test_the_script_visits_every_kind_of_event(plan):
    host = GrowingHost(plan)
    reports = live(host, plan.epochs)
    seen = {t["target"] for applied, report in reports for t in [*applied["transitions"], *report["transitions"]]}
    assert seen == {stage.name for stage in Stage}


def test_the_same_seed_twice_gives_the_same_host(plan):
    first, second = GrowingHost(plan), GrowingHost(plan)
    torch.manual_seed(1)
    reports = live(first, plan.epochs)
    torch.manual_seed(2)
    assert live(second, plan.epochs) == reports
    assert_equal_hosts(first, second)


def test_another_seed_gives_another_host(plan, variant):
    first, second = GrowingHost(plan), GrowingHost(variant(seed=8))
    assert live(first, 1) != live(second, 1)


def test_a_host_that_is_through_its_epochs_does_nothing_more(variant):
    """A control of several may have fewer epochs than the others."""
    host, reference = GrowingHost(variant(epochs=2)), GrowingHost(variant(epochs=2))
    live(host, 2)
    live(reference, 2)
    report = host.epoch()
    assert (report.epoch, report.evidence, report.seed_reports) == (2, None, ())
    assert_equal_hosts(host, reference)
    assert host.finish().epochs == 2


def test_training_leaves_the_global_random_state_alone(plan):
    host = GrowingHost(plan)
    state = torch.get_rng_state()
    live(host, 3)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("incubation", ["ste", "probe", "none"])
def test_a_host_restored_at_any_epoch_goes_on_bit_by_bit(plan, variant, optimizer, incubation):
    plan = variant(
        optimizer=type(plan.optimizer)(name=optimizer),
        lifecycle=evolve(plan.lifecycle, incubation=incubation),
    )
    whole, states = GrowingHost(plan), []
    reports = live(whole, plan.epochs, states)
    for epoch, state in enumerate(states):
        resumed = GrowingHost(plan)
        restore(resumed, state)
        assert live(resumed, plan.epochs) == reports[epoch:]
        assert_equal_hosts(whole, resumed)


@pytest.mark.parametrize("incubation", ["ste", "probe", "none"])
def test_gated_seeds_with_ramps_of_their_own_go_on_bit_by_bit_too(plan, variant, incubation, monkeypatch):
    script = {
        1: Action(op=Op.GERMINATE, slot="block1", blueprint="tanh", blend=Blend.GATED, ramp_epochs=1),
        2: Action(op=Op.GERMINATE, slot="block0", blueprint="random", blend=Blend.GATED, ramp_epochs=2),
        5: Action(op=Op.FOSSILIZE, slot="block1"),
        7: Action(op=Op.CULL, slot="block0"),
    }
    monkeypatch.setattr(f"{__name__}.SCRIPT", script)
    plan = variant(lifecycle=evolve(plan.lifecycle, incubation=incubation))
    whole, states = GrowingHost(plan), []
    reports = live(whole, plan.epochs, states)
    shares = [name for name in tensors(whole) if name.endswith("share.score.weight")]
    assert shares == ["model/esper.block1.seed.share.score.weight"]
    (row,) = [row for row in whole.finish().topology if row["slot"] == "block1"]
    assert (row["stage"], row["blend"]) == ("FOSSILIZED", "gated")
    for epoch, state in enumerate(states):
        resumed = GrowingHost(plan)
        restore(resumed, state)
        assert live(resumed, plan.epochs) == reports[epoch:]
        assert_equal_hosts(whole, resumed)


def test_a_restored_host_forgets_what_it_had_grown(plan):
    host = GrowingHost(plan)
    begin = capture(host)
    reports = live(host, plan.epochs)
    restore(host, begin)
    assert live(host, plan.epochs) == reports


def test_a_state_that_does_not_fit_is_refused(plan, variant):
    host = GrowingHost(plan)
    live(host, 3)
    state = capture(host)
    lacking = GrowingHost(variant(seed_factories={"random": plan.seed_factories["random"]}))
    with pytest.raises(EsperError, match="tanh") as caught:
        restore(lacking, state)
    assert caught.value.code == "E502"


def test_a_twin_sees_the_same_batches_and_stays_the_bare_network(plan, variant):
    grown, twin = GrowingHost(plan), GrowingHost(variant(name="twin"))
    for epoch in (0, 1):
        a = [*grown.batches.epoch(epoch)]
        b = [*twin.batches.epoch(epoch)]
        assert all(torch.equal(x, y) and torch.equal(s, t) for (x, s), (y, t) in zip(a, b, strict=True))
    assert grown.epoch().evidence.train.loss == twin.epoch().evidence.train.loss
    reference = twin.epoch().evidence
    grown.apply(SCRIPT[1])
    evidence = grown.epoch(reference).evidence
    assert evidence.train.loss == reference.train.loss  # a TRAINING seed does not touch its host
    (seed,) = evidence.seeds
    assert seed.host_gain.mean == 0.0


def test_every_sample_is_seen_once_per_epoch_in_a_new_order(plan):
    split = evolve(plan.splits.train, targets=torch.arange(len(plan.splits.train.targets)))
    stream = BatchStream(split, plan.task, 16, seed=3)
    orders = [torch.cat([targets for _, targets in stream.epoch(epoch)]) for epoch in (0, 1)]
    assert all(torch.equal(order.sort().values, split.targets) for order in orders)
    assert not torch.equal(*orders)
    assert stream.steps == len([*stream.epoch(0)]) == 5


def test_the_loss_of_an_epoch_weighs_every_sample_alike(plan, variant):
    """70 samples in batches of 16 leave a last batch of 6: a mean of batch means would be wrong."""
    plan = variant(optimizer=type(plan.optimizer)(lr=1e-12, momentum=0.0), build=partial(plan.build.func, 0.0))
    host = GrowingHost(plan)
    loss = host.epoch().evidence.train.loss
    seen = torch.cat([plan.task.losses(host.model(x), y).detach() for x, y in host.batches.epoch(0)])
    assert loss == pytest.approx(float(seen.mean()), rel=1e-5)


def test_an_impossible_action_is_denied_and_changes_nothing(plan):
    host = GrowingHost(plan)
    before = tensors(host)
    impossible = [
        Action(op=Op.CULL, slot="block0"),
        Action(op=Op.FOSSILIZE, slot="block0"),
        Action(op=Op.GERMINATE, slot="nowhere", blueprint="tanh", blend=Blend.LINEAR),
        Action(op=Op.GERMINATE, slot="block0", blueprint="unheard-of", blend=Blend.LINEAR),
        Action(op=Op.GERMINATE, slot="block0", blueprint="tanh"),
    ]
    for action in impossible:
        applied = host.apply(action)
        assert not applied.verdict.allowed
        assert "impossible" in applied.verdict.reason
        assert applied.transitions == ()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), tensors(host).values(), strict=True))


def test_a_host_whose_loss_turns_nan_is_stopped_and_stands_still(plan):
    host = GrowingHost(plan)
    with torch.no_grad():
        host.model.head.bias.fill_(math.nan)
    report = host.epoch()
    assert report.governor is GovernorMode.STOPPED
    assert "nan" in report.governor_reason
    assert host.epoch().evidence is None
    assert host.grower.epoch == 1
    assert not host.apply(SCRIPT[1]).verdict.allowed


def test_masks_and_governor_agree_in_every_mode(plan):
    host = GrowingHost(plan)
    live(host, 5)
    host.grower.governor.reason = "as the test wants it"
    for mode in GovernorMode:
        host.grower.governor.mode = mode
        masks = host.grower.masks()
        for action in (SCRIPT[5], SCRIPT[4], SCRIPT[1], evolve(SCRIPT[8], slot="block1")):
            assert host.grower.governor.review(action, masks).allowed == masks.allows(action), (mode, action)
    host.grower.governor.mode = GovernorMode.NORMAL
    assert host.grower.masks().fossilize == {"block1"}


def test_evidence_tells_what_was_measured_and_what_was_not(plan):
    host = GrowingHost(plan)
    stages = {}
    for epoch in range(6):
        host.apply(SCRIPT.get(epoch, WAIT) if epoch != 2 else WAIT)
        for seed in host.epoch().evidence.seeds:
            stages[seed.stage] = seed
    training, blending, fossil = (stages[s] for s in (Stage.TRAINING, Stage.BLENDING, Stage.FOSSILIZED))
    assert training.probe is not None
    assert training.contribution is None
    assert training.gradient_ratio > 0
    assert training.gradients_finite
    assert blending.contribution.count == 40
    assert blending.probe is None
    assert fossil.contribution is None  # only in the last epoch of the run
    assert all(seed.update_ratio > 0 and seed.finite and seed.host_gain is None for seed in stages.values())


def test_the_last_epoch_measures_fossils_too(plan):
    host = GrowingHost(plan)
    live(host, plan.epochs)
    fossil = next(r for r in host.finish().seeds if r.final_stage is Stage.FOSSILIZED)
    assert fossil.ablation is not None
    assert fossil.slot == "block1"


def test_finish_reports_the_test_split_and_the_topology(plan):
    host = GrowingHost(plan)
    bare = host.finish()
    live(host, plan.epochs)
    final = host.finish()
    assert final.test.samples == 30
    assert final.parameters == final.host_parameters + sum(
        r.parameters for r in final.seeds if r.ended_epoch is None or r.final_stage is Stage.FOSSILIZED
    )
    assert final.forward_flops > bare.forward_flops
    assert [row["blueprint"] for row in final.topology] == ["tanh", "tanh"]
    assert [r.blueprint for r in final.seeds] == ["tanh", "random", "tanh"]


def test_counterfactuals_equal_a_network_without_the_seed(plan):
    host = GrowingHost(plan)
    for epoch in range(4):
        host.apply(SCRIPT[1] if epoch == 1 else WAIT)
        evidence = host.epoch().evidence
    (seed,) = evidence.seeds
    assert seed.stage is Stage.PROBATIONARY
    split, model = plan.splits.validation, host.model.eval()
    with torch.no_grad():
        with_seed = plan.task.losses(model(split.inputs), split.targets)
        model.esper["block1"].detach()
        without = plan.task.losses(model(split.inputs), split.targets)
    assert seed.contribution.mean == pytest.approx(float((without - with_seed).mean()), abs=1e-6)


def test_a_budget_of_parameters_is_kept(plan, variant):
    limits = type(plan.limits)(max_growth_ratio=0.3)
    host = GrowingHost(variant(limits=limits))
    room = host.grower.masks().germinate
    ratio = (4 * 4 * 9 + 4 + 4) / sum(p.numel() for p in host.model.parameters())
    assert 0.15 < ratio < 0.3
    assert set(room) == {"block0", "block1"}
    host.apply(SCRIPT[1])
    assert host.grower.masks().germinate == {}


class Choosy(nn.Module):
    """A host whose control flow depends on values, and that takes at least so many samples."""

    def __init__(self, inner: nn.Module, fewest: int) -> None:
        super().__init__()
        self.inner = inner
        self.fewest = fewest

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < self.fewest:
            raise ValueError(f"give at least {self.fewest} samples")
        return self.inner(x) if bool((x == x).all()) else self.inner(-x)


def choosy(build, fewest):
    host = build()
    sites = [evolve(site, path=f"inner.{site.path}") for site in host.sites]
    return evolve(host, module=Choosy(host.module, fewest), sites=sites)


def test_a_host_whose_control_flow_depends_on_values_is_costed_on_real_samples(plan):
    host = GrowingHost(evolve(plan, build=partial(choosy, plan.build, 1)))
    assert host.epoch().evidence.forward_flops == GrowingHost(plan).epoch().evidence.forward_flops > 0


def test_a_host_that_cannot_be_costed_has_no_cost_and_grows(plan):
    host = GrowingHost(evolve(plan, build=partial(choosy, plan.build, 2)))
    reports = live(host, plan.epochs)
    assert [report["evidence"]["forward_flops"] for _, report in reports] == [None] * plan.epochs
    assert host.finish().forward_flops is None
    assert host.growth.stage("block1") is Stage.FOSSILIZED


def test_of_several_germinations_in_one_epoch_those_within_the_limit_are_done(plan, variant):
    host = GrowingHost(variant(limits=GrowthLimits(max_live_seeds=1)))
    both = [Action(op=Op.GERMINATE, slot=name, blueprint="tanh", blend=Blend.LINEAR) for name in ("block1", "block0")]
    masks = host.grower.masks()
    assert all(masks.allows(action) for action in both)
    first, second = (host.apply(action) for action in both)
    assert first.verdict.allowed
    assert not second.verdict.allowed
    assert second.transitions == ()
    host.epoch()
    assert [host.growth.stage(name) for name in ("block0", "block1")] == [Stage.DORMANT, Stage.TRAINING]


def test_several_germinations_in_one_epoch_are_as_bit_exact_as_one(plan):
    host, resumed = GrowingHost(plan), GrowingHost(plan)
    for name in ("block1", "block0"):
        assert host.apply(Action(op=Op.GERMINATE, slot=name, blueprint="tanh", blend=Blend.LINEAR)).verdict.allowed
    for _ in range(3):
        host.epoch()
    restore(resumed, capture(host))
    for one in (host, resumed):
        one.epoch()
    assert_equal_hosts(host, resumed)
