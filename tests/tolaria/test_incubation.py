"""Probe incubation: the seed learns from the task's own loss at a small alpha, and the host notices nothing."""

from functools import partial

import pytest
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import esper_core
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.kasmina.undisturbed import restored_buffers
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import HostBuild
from esper_core.leyline.records import plain
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Blend, Stage
from esper_core.tolaria import incubation
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.incubation import probe, probed_slots
from esper_core.tolaria.isolation import prove_isolation
from esper_core.tolaria.state import capture, restore

SLOTS = ("block0", "block1")
ALPHA = 0.1


class Host(nn.Module):
    """Two blocks with what makes a second pass dangerous: running statistics, dropout, memory formats."""

    def __init__(self, norm, *, channels_last=False, dropout=0.2, overwrites=False, checkpoints=False):
        super().__init__()
        self.channels_last = channels_last
        self.checkpoints = checkpoints
        norms = {"batch": lambda: nn.BatchNorm2d(4), "group": lambda: nn.GroupNorm(2, 4)}
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), norms[norm](), nn.Dropout(dropout)) for inputs in (1, 4)
        )
        self.relu = nn.ReLU(inplace=overwrites)
        self.head = nn.Linear(4 * 36, 4)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, x):
        if self.training:
            self.seen = self.seen + 1  # another tensor, not the same one changed
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = self.relu(checkpoint(block, x, use_reentrant=False) if self.checkpoints else block(x))
        return self.head(x.flatten(1))


FLAVOURS = {
    "batch-norm, dropout": {"norm": "batch"},
    "batch-norm, channels_last": {"norm": "batch", "channels_last": True},
    "group-norm, channels_last": {"norm": "group", "channels_last": True},
    "consumer that overwrites": {"norm": "group", "overwrites": True},
}


class NormFirst(nn.Module):
    """Begins with the layer whose channels_last backward is dangerous, and has statistics of its own."""

    def __init__(self, site):
        super().__init__()
        self.norm = nn.GroupNorm(2, site.width)
        self.own = nn.BatchNorm2d(site.width)
        self.conv = nn.Conv2d(site.width, site.width, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(site.width, 1, 1))

    def forward(self, h):
        return self.gain * self.own(self.conv(self.norm(h)))


def build(**flavour):
    return HostBuild(
        module=Host(**flavour), sites=tuple(SiteRequest(path=f"blocks.{i}", id=f"block{i}") for i in range(2))
    )


@pytest.fixture
def probed(plan):
    """Return a function that makes a plan with probe incubation."""
    norm_first = SeedFactory(entry=CatalogueEntry(name="norm-first", layouts=frozenset({Layout.NCHW})), build=NormFirst)

    def make(flavour=None, **lifecycle):
        return evolve(
            plan,
            build=plan.build if flavour is None else partial(build, **FLAVOURS[flavour]),
            seed_factories={**plan.seed_factories, "norm-first": norm_first},
            lifecycle=evolve(plan.lifecycle, incubation="probe", **lifecycle),
        )

    return make


def germinate(slot, blueprint="tanh"):
    return Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=Blend.LINEAR)


def begun(plan, *slots, blueprint="tanh"):
    """A host before its first epoch, with seeds in training."""
    host = GrowingHost(plan)
    for slot in slots:
        host.apply(germinate(slot, blueprint))
    host.growth.tick(0)
    assert all(host.growth.stage(slot) is Stage.TRAINING for slot in slots)
    host.model.train()
    return host


def gradients(host, slot):
    return [p.grad for p in host.growth.slot_set.seed_parameters(slot)]


def loss_of(host, batch):
    return host.plan.task.losses(host.model(batch[0]), batch[1]).mean()


@pytest.fixture
def batch(plan):
    return plan.splits.train.inputs[:16], plan.splits.train.targets[:16]


def host_tensors(state):
    """The captured tensors of the host alone: parameters, buffers, and what the optimizer knows of them."""
    own = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("model/esper.")}
    count = len(state.record["optimizer"]["groups"][0]["params"])
    return {
        name: tensor
        for name, tensor in own.items()
        if not name.startswith("optimizer/") or int(name.split("/")[1]) < count
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("blueprint", ["tanh", "random", "norm-first"])
def test_the_host_trains_as_if_there_were_no_seed(probed, flavour, blueprint):
    plan = probed(flavour)
    alone, grown = GrowingHost(plan), begun(plan, *SLOTS, blueprint=blueprint)
    for epoch in range(2):
        one, other = alone.epoch().evidence, grown._train(epoch)
        assert one.train.loss == other.loss
        a, b = host_tensors(capture(alone)), host_tensors(capture(grown))
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name
            assert a[name].stride() == b[name].stride(), name
    for slot in SLOTS:
        assert all(g is not None and bool(g.isfinite().all()) for g in gradients(grown, slot))
        assert any(bool(g.any()) for g in gradients(grown, slot))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_pass_leaves_gradients_buffers_and_random_state_alone(probed, batch, flavour):
    host = begun(probed(flavour), *SLOTS)
    loss_of(host, batch).backward()
    before = [p.grad.clone() for p in host.growth.slot_set.host_parameters]
    buffers = [(name, buffer, buffer.clone()) for name, buffer in host.model.named_buffers()]
    state = torch.get_rng_state()
    probe(host.growth.slot_set, host.plan.task, *batch, SLOTS, ALPHA)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, host.growth.slot_set.host_parameters, strict=True))
    assert all(p.requires_grad for p in host.model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    for (name, buffer, copy), (_, now) in zip(buffers, host.model.named_buffers(), strict=True):
        assert now is buffer, name
        assert torch.equal(now, copy), name
    assert all(slot.override is None for slot in host.growth.slot_set.slots.values())


@pytest.mark.parametrize("flavour", ["batch-norm, dropout", "group-norm, channels_last"])
def test_under_autocast_and_with_clipping_the_host_trains_as_if_there_were_no_seed(probed, flavour):
    made = probed(flavour)
    made = evolve(made, optimizer=evolve(made.optimizer, clip_norm=0.05))
    alone, grown = GrowingHost(made), begun(made, *SLOTS)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        assert alone._train(0).loss == grown._train(0).loss
    a, b = host_tensors(capture(alone)), host_tensors(capture(grown))
    assert all(torch.equal(a[name], b[name]) for name in a)
    for slot in SLOTS:
        norm = torch.stack([g.norm() for g in gradients(grown, slot)]).norm()
        assert 0.0 < float(norm) < 0.0501


def test_a_seeds_own_statistics_stay_as_its_pass_has_left_them(probed, batch):
    host = begun(probed("batch-norm, dropout"), "block1", blueprint="norm-first")
    own = host.growth.slot_set.slots["block1"].seed.own
    before = int(own.num_batches_tracked)
    loss_of(host, batch).backward()
    assert int(own.num_batches_tracked) == before
    probe(host.growth.slot_set, host.plan.task, *batch, ["block1"], ALPHA)
    assert int(own.num_batches_tracked) == before + 1


def test_activation_checkpointing_changes_no_gradient(probed, batch):
    found = []
    for checkpoints in (False, True):
        host = begun(evolve(probed(), build=partial(build, norm="group", checkpoints=checkpoints)), *SLOTS)
        for slot in SLOTS:
            with torch.no_grad():
                host.growth.slot_set.slots[slot].seed.gain.gain.fill_(0.5)
        torch.manual_seed(3)
        probe(host.growth.slot_set, host.plan.task, *batch, SLOTS, ALPHA)
        found.append([gradient for slot in SLOTS for gradient in gradients(host, slot)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_site_that_a_pass_leaves_out_gives_its_seed_no_gradient(probed, batch):
    host = begun(probed(), "block1")
    host.growth.slot_set.slots["block1"].detach()
    probe(host.growth.slot_set, host.plan.task, *batch, ["block1"], ALPHA)
    assert all(gradient is None for gradient in gradients(host, "block1"))
    assert all(p.requires_grad for p in host.model.parameters())


@pytest.mark.parametrize("alpha", [0.05, 1.0])
def test_at_birth_the_gradient_is_that_of_straight_through_training(plan, probed, batch, alpha):
    straight = begun(evolve(plan, build=partial(build, norm="group", dropout=0.0)), *SLOTS)
    loss_of(straight, batch).backward()
    by_probe = begun(evolve(probed(), build=partial(build, norm="group", dropout=0.0)), *SLOTS)
    probe(by_probe.growth.slot_set, by_probe.plan.task, *batch, SLOTS, alpha)
    for slot in SLOTS:
        for expected, found in zip(gradients(straight, slot), gradients(by_probe, slot), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(gain=st.floats(-1.0, 1.0), alpha=st.floats(0.02, 1.0))
def test_the_gradient_is_that_of_the_loss_at_alpha_over_alpha(plan, probed, batch, gain, alpha):
    """Compared with differences of the loss itself, in double precision."""
    host = begun(evolve(probed(), build=partial(build, norm="group", dropout=0.0)), "block1")
    slot_set = host.growth.slot_set
    host.model.double()
    doubled = batch[0].double(), batch[1]
    parameter = slot_set.slots["block1"].seed.gain.gain
    with torch.no_grad():
        parameter.fill_(gain)
    probe(slot_set, host.plan.task, *doubled, ["block1"], alpha)
    step = 1e-5

    def loss_at(offset):
        with torch.no_grad(), slot_set.override({"block1": alpha}):
            parameter[0] += offset
            loss = loss_of(host, doubled)
            parameter[0] -= offset
        return float(loss)

    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert float(parameter.grad[0]) == pytest.approx(slope / alpha, rel=1e-4, abs=1e-6)


def test_a_seed_feels_its_own_size_where_straight_through_training_does_not(plan, probed, batch):
    def gradient_of(make, gain):
        host = begun(evolve(make, build=partial(build, norm="group", dropout=0.0)), "block1")
        with torch.no_grad():
            host.growth.slot_set.slots["block1"].seed.gain.gain.fill_(gain)
        loss_of(host, batch).backward()
        if slots := probed_slots(host.growth.slot_set):
            probe(host.growth.slot_set, host.plan.task, *batch, slots, 1.0)
        return host.growth.slot_set.slots["block1"].seed.gain.gain.grad

    assert torch.equal(gradient_of(plan, 0.5), gradient_of(plan, 2.0))
    assert not torch.allclose(gradient_of(probed(), 0.5), gradient_of(probed(), 2.0), rtol=1e-2)


def test_a_seed_that_is_not_finite_spoils_neither_the_host_nor_another_seed(probed, batch):
    host = begun(probed(), *SLOTS)
    with torch.no_grad():
        for parameter in host.growth.slot_set.seed_parameters("block0"):
            parameter.fill_(float("nan"))
    loss_of(host, batch).backward()
    probe(host.growth.slot_set, host.plan.task, *batch, SLOTS, ALPHA)
    assert all(bool(p.grad.isfinite().all()) for p in host.growth.slot_set.host_parameters)
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients(host, "block1")[-1:])


@pytest.mark.parametrize("blueprint", ["tanh", "random"])
def test_the_gate_is_shown_a_ratio_comparable_with_that_of_straight_through_training(plan, probed, blueprint):
    def ratio(make):
        host = GrowingHost(make)
        host.epoch()
        host.apply(germinate("block1", blueprint))
        (seed,) = host.epoch().evidence.seeds
        assert seed.isolated is True
        assert seed.gradients_finite is True
        assert seed.probe is not None
        return seed.gradient_ratio

    assert ratio(probed()) == pytest.approx(ratio(plan), rel=0.5)


def test_a_whole_life_passes_through_every_stage(probed):
    host = GrowingHost(probed())
    host.epoch()
    host.apply(germinate("block1"))
    stages = []
    for epoch in range(5):
        if epoch == 4:
            host.apply(Action(op=Op.FOSSILIZE, slot="block1"))
        host.epoch()
        stages.append((host.growth.stage("block1").name, host.growth.slot_set.slots["block1"].forward_mode))
    assert stages == [
        ("TRAINING", ForwardMode.PROBE),
        ("BLENDING", ForwardMode.ISOLATED),
        ("PROBATIONARY", ForwardMode.ISOLATED),
        ("PROBATIONARY", ForwardMode.ISOLATED),
        ("FOSSILIZED", ForwardMode.FOSSIL),
    ]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_host_restored_at_any_epoch_goes_on_bit_by_bit(plan, probed, optimizer):
    """Two seeds in training for three epochs each, one of them drawing random numbers, restored in between."""
    script = {1: germinate("block1", "random"), 2: germinate("block0")}
    made = evolve(probed("batch-norm, dropout", incubation_epochs=3), optimizer=type(plan.optimizer)(name=optimizer))

    def live(host, states=None):
        reports = []
        while host.grower.epoch < 7:
            if states is not None:
                states.append(capture(host))
            host.apply(script.get(host.grower.epoch, WAIT))
            report = plain(host.epoch())
            report["evidence"]["train"].pop("seconds")
            report["evidence"]["validation"].pop("seconds")
            reports.append(report)
        return reports

    states = []
    whole = GrowingHost(made)
    reports = live(whole, states)
    assert {s["stage"] for r in reports for s in r["evidence"]["seeds"]} >= {"TRAINING", "BLENDING"}
    for epoch, state in enumerate(states):
        resumed = GrowingHost(made)
        restore(resumed, state)
        assert live(resumed) == reports[epoch:]
        ours, theirs = capture(whole).tensors, capture(resumed).tensors
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_proof_of_isolation_finds_a_pass_that_disturbs_the_host(probed, batch, monkeypatch):
    """Mutants of the pass: each forgets one thing."""
    host = begun(probed("batch-norm, dropout"), "block1")

    def proved():
        return prove_isolation(host.growth.slot_set, host.plan.task, *batch, ["block1"], probe_alpha=ALPHA)["block1"]

    assert proved() is True

    def keeps_statistics(slot_set, task, inputs, targets, slots, alpha):
        with slot_set.override(dict.fromkeys(slots, alpha)), torch.random.fork_rng(devices=[]):
            task.losses(slot_set.model(inputs), targets)

    def keeps_random_state(slot_set, task, inputs, targets, slots, alpha):
        with slot_set.override(dict.fromkeys(slots, alpha)), restored_buffers(slot_set.model):
            task.losses(slot_set.model(inputs), targets)

    def trains_the_host(slot_set, task, inputs, targets, slots, alpha):
        with (
            slot_set.override(dict.fromkeys(slots, alpha)),
            restored_buffers(slot_set.model),
            incubation.forked_random_state(inputs.device),
        ):
            task.losses(slot_set.model(inputs), targets).mean().backward()

    for mutant in (keeps_statistics, keeps_random_state, trains_the_host):
        monkeypatch.setattr("esper_core.tolaria.isolation.probe", mutant)
        assert proved() is False, mutant.__name__


def test_a_loop_of_the_users_own_is_told_what_to_use_instead():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(EsperError, match="probe") as caught:
        esper_core.grow(
            model,
            optimizer=optimizer,
            epochs=3,
            sites=["0"],
            sample=torch.zeros(2, 4),
            settings={"lifecycle": {"incubation": "probe"}},
        )
    assert caught.value.code == "E202"
    assert "ste" in caught.value.fix
    assert not hasattr(model, "esper")
