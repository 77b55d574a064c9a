"""Gated blending: a share of the update for each sample, learned by the seed, from birth to the exported network."""

import copy
import io
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn
from torch.nn.functional import cross_entropy

from esper_core.kasmina.cost import count_flops, parameter_count, seed_cost
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.gated import GatedSeed, Share, blended
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.serialization import growth_record, restore_growth
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Stage
from esper_export.network import NotPlainWarning, export_network

SHAPES = {Layout.NCHW: (6, 4, 4), Layout.BTD: (5, 6), Layout.BD: (6,)}
SHARES = {Layout.NCHW: (3, 1, 1, 1), Layout.BTD: (3, 5, 1), Layout.BD: (3, 1)}
layouts = pytest.mark.parametrize("layout", list(Layout))


def site_of(layout, causal=False):
    return Site(id="a", path="a", layout=layout, width=6, sample_shape=SHAPES[layout], causal=causal)


def disturbed(module, scale=0.7):
    """The module with parameters that matter; at birth every share is the same."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def activation(layout, batch=3, seed=0):
    return torch.randn(batch, *SHAPES[layout], generator=torch.Generator().manual_seed(seed))


@layouts
@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.5, 1e3), seed=st.integers(0, 99))
def test_a_share_lies_between_0_and_1_and_does_not_depend_on_the_hosts_scale(layout, scale, seed):
    share, h = disturbed(Share(site_of(layout))), activation(layout, seed=seed)
    found = share(h)
    assert found.shape == SHARES[layout]
    assert bool(((found > 0) & (found < 1)).all())
    torch.testing.assert_close(share(scale * h), found, rtol=1e-3, atol=1e-3)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dead_activation_has_a_share_and_a_gradient_that_are_finite(layout, dtype):
    share, h = Share(site_of(layout)).to(dtype), torch.zeros(3, *SHAPES[layout], dtype=dtype, requires_grad=True)
    found = share(h)
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert bool(h.grad.isfinite().all())


@layouts
def test_each_sample_has_a_share_of_its_own(layout):
    share, h = disturbed(Share(site_of(layout))), activation(layout)
    found = share(h)
    assert found.flatten(1)[:, 0].unique().numel() == 3
    alone = torch.cat([share(sample) for sample in h.split(1)])
    torch.testing.assert_close(found, alone)


def looks_ahead(share, seed, position):
    """Whether what comes behind a position changes the shares up to it."""
    h = activation(Layout.BTD, seed=seed)
    other = h.clone()
    other[:, position + 1 :] = activation(Layout.BTD, seed=seed + 1)[:, position + 1 :]
    return not torch.equal(share(h)[:, : position + 1], share(other)[:, : position + 1])


@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), position=st.integers(0, 3))
def test_no_position_sees_what_comes_behind_it(causal, seed, position):
    """Also where it may: what comes behind may be padding."""
    assert not looks_ahead(disturbed(Share(site_of(Layout.BTD, causal))), seed, position)


def test_a_share_of_the_mean_over_positions_would_be_found_out():
    share = disturbed(Share(site_of(Layout.BTD)))

    def mean(h):
        return share(h.mean(1, keepdim=True)).expand(-1, h.shape[1], -1)

    assert looks_ahead(mean, 0, 2)


class Bare(nn.Module):
    """A seed that is zero at birth."""

    def __init__(self, site):
        super().__init__()
        self.mix = nn.Linear(SHAPES[site.layout][-1], SHAPES[site.layout][-1])
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, h):
        return self.gain * torch.tanh(self.mix(h))


@layouts
def test_at_birth_the_update_is_zero_and_the_seeds_first_gradient_is_nearly_the_plain_one(layout):
    h = activation(layout)
    plain, gated = Bare(site_of(layout)), GatedSeed(Bare(site_of(layout)), site_of(layout))
    gated.seed.load_state_dict(plain.state_dict())
    for seed in (plain, gated):
        update = seed(h)
        assert not bool(update.any())
        (update * h).sum().backward()
    ratio = float(gated.seed.gain.grad / plain.gain.grad)
    assert 0.8 < ratio < 1.0
    assert not bool(gated.share.score.weight.grad.any())
    with torch.no_grad():
        gated.seed.gain.fill_(0.5)
    (gated(h) * h).sum().backward()
    assert bool(gated.share.score.weight.grad.any())
    assert bool(gated.share.score.bias.grad.any())


def test_weight_decay_pulls_the_share_back_to_where_it_was_born_and_not_to_one_half():
    share, h = Share(site_of(Layout.BD)), activation(Layout.BD)
    born = share(h).detach()
    disturbed(share)
    with torch.no_grad():
        for parameter in share.parameters():
            parameter.mul_(0.0)
    assert torch.equal(share(h), born)
    assert float(born.min()) > 0.8


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_updates_memory_format_is_the_seeds(memory_format):
    site = site_of(Layout.NCHW)
    seed = GatedSeed(nn.Conv2d(6, 6, 3, padding=1), site).to(memory_format=memory_format)
    h = activation(Layout.NCHW).contiguous(memory_format=memory_format)
    assert seed(h).is_contiguous(memory_format=memory_format)


def test_what_a_share_costs_is_counted():
    site = site_of(Layout.BTD)
    plain, gated = (seed_cost(lambda at, b=b: blended(Bare, at, b), site) for b in (Blend.LINEAR, Blend.GATED))
    assert gated.parameters - plain.parameters == 6 + 1
    assert gated.forward_flops - plain.forward_flops == 2 * 5 * 6


def test_a_padding_mask_goes_to_the_seed_alone():
    seen = []

    class Masked(Bare):
        def forward(self, h, mask):
            seen.append(mask)
            return super().forward(h) * mask[..., None]

    site, mask = site_of(Layout.BTD), torch.ones(3, 5, dtype=torch.bool)
    seed = disturbed(GatedSeed(Masked(site), site))
    h = activation(Layout.BTD)
    torch.testing.assert_close(seed(h, mask), seed.share(h) * seed.seed(h, mask))
    assert all(given is mask for given in seen)


# In a host.


@pytest.fixture
def gated_growth(make_growth, host_class):
    """Return a function that grows a host with a gated seed behind its first block."""

    def make(blueprint="loud", host=None, **config):
        torch.manual_seed(1)
        growth = make_growth(host_class() if host is None else host, **config)
        growth.germinate("block0", blueprint, Blend.GATED, 0)
        growth.tick(0)
        return growth

    return make


def train(growth, batch, steps=3):
    growth.slot_set.model.train()
    torch.manual_seed(4)
    for step in range(steps):
        growth.set_position(step)
        growth.slot_set.optimizer.zero_grad()
        cross_entropy(growth.slot_set.model(batch[0]), batch[1]).backward()
        growth.slot_set.optimizer.step()


def fossil(growth, batch):
    """Walk the seed to the end of its life, with a share that differs from sample to sample."""
    for epoch in range(1, 9):
        train(growth, batch)
        growth.judge(growth.evidence(epoch - 1), 0.5)
        if growth.stage("block0") is Stage.PROBATIONARY:
            growth.fossilize("block0", epoch)
            break
        growth.tick(epoch)
    assert growth.stage("block0") is Stage.FOSSILIZED
    disturbed(growth.slot_set.slots["block0"].seed.share)
    return growth


@pytest.mark.parametrize("incubation", ["ste", "none"])
def test_the_share_trains_with_its_seed_and_goes_with_it(gated_growth, batch, incubation):
    growth = gated_growth(incubation=incubation, ramp_epochs=0)
    share = growth.slot_set.slots["block0"].seed.share
    group = growth.slot_set.optimizer.param_groups[1]["params"]
    assert {id(p) for p in share.parameters()} <= {id(p) for p in group}
    assert growth.seeds["block0"].parameters == parameter_count(growth.slot_set.slots["block0"].seed)
    before = [p.detach().clone() for p in share.parameters()]
    train(growth, batch)
    assert all(not torch.equal(a, b) for a, b in zip(before, share.parameters(), strict=True))
    growth.cull("block0", 1)
    assert not [name for name in growth.slot_set.model.state_dict() if name.startswith("esper.")]
    assert len(growth.slot_set.optimizer.param_groups) == 1
    assert set(growth.slot_set.optimizer.state) <= set(growth.slot_set.host_parameters)


@pytest.mark.parametrize("isolate", [True, False])
def test_blending_adds_alpha_times_the_share_of_the_update_and_a_fossil_the_share(gated_growth, batch, isolate):
    growth = gated_growth(incubation="none", ramp_epochs=2, isolate=isolate)
    slot = growth.slot_set.slots["block0"]
    disturbed(slot.seed.share)
    growth.set_alphas(0, 0.5)
    assert float(slot.alpha) == 0.25  # along a straight line
    h = torch.randn(3, 8, 4, 4)
    update = slot.seed.share(h) * slot.seed.seed(h)
    assert slot.seed.share(h).unique().numel() == 3
    torch.testing.assert_close(slot.act(h), h + 0.25 * update)
    slot.enter(ForwardMode.FOSSIL)
    assert torch.equal(slot.act(h), h + update)


def test_a_training_seed_with_a_share_leaves_the_host_alone(gated_growth, make_growth, host_class, batch):
    torch.manual_seed(1)
    alone = make_growth(host_class("batch", dropout=0.2))
    torch.manual_seed(1)
    grown = gated_growth(host=host_class("batch", dropout=0.2))
    train(alone, batch)
    train(grown, batch)
    for a, b in zip(alone.slot_set.host_parameters, grown.slot_set.host_parameters, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_under_autocast_the_activation_keeps_its_dtype(gated_growth, dtype):
    growth = gated_growth(incubation="none", ramp_epochs=0)
    slot = growth.slot_set.slots["block0"]
    h = torch.randn(3, 8, 4, 4).to(dtype)
    for forward_mode in (ForwardMode.STRAIGHT_THROUGH, ForwardMode.ISOLATED, ForwardMode.OPEN, ForwardMode.FOSSIL):
        slot.enter(forward_mode)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = slot.act(h.clone().requires_grad_())
        assert out.dtype is dtype
        out.float().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in slot.seed.parameters())


@pytest.mark.parametrize("flavour", [{}, {"channels_last": True}, {"norm": "group", "channels_last": True}])
def test_it_grows_in_both_memory_formats(gated_growth, host_class, batch, flavour):
    growth = gated_growth("norm-first", host=host_class(**flavour), ramp_epochs=1)
    fossil(growth, batch)
    train(growth, batch)
    assert all(bool(p.isfinite().all()) for p in growth.slot_set.model.parameters())


def test_a_copy_is_independent(gated_growth, batch):
    growth = fossil(gated_growth(ramp_epochs=1), batch)
    model = growth.slot_set.model.eval()
    twin = copy.deepcopy(model)
    assert torch.equal(model(batch[0]), twin(batch[0]))
    with torch.no_grad():
        twin.esper["block0"].seed.share.score.bias.add_(3.0)
    assert not torch.equal(model(batch[0]), twin(batch[0]))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(epochs=st.integers(0, 4))
def test_a_record_brings_the_share_back_at_every_stage(gated_growth, make_growth, host_class, batch, epochs):
    growth = gated_growth(ramp_epochs=2)
    for epoch in range(1, epochs + 1):
        train(growth, batch)
        growth.judge(growth.evidence(epoch - 1), 0.5)
        growth.tick(epoch)
    weights = load(save(growth.slot_set.model.state_dict()))
    torch.manual_seed(9)
    again: Growth = make_growth(host_class(), ramp_epochs=2)
    restore_growth(again, growth_record(growth))
    again.slot_set.model.load_state_dict(weights)
    again.set_alphas(epochs, 0.0)
    assert isinstance(again.slot_set.slots["block0"].seed, GatedSeed)
    assert again.seeds["block0"] == growth.seeds["block0"]
    assert torch.equal(again.slot_set.model.eval()(batch[0]), growth.slot_set.model.eval()(batch[0]))


def test_a_fossil_is_exported_with_its_share_and_nothing_of_esper(gated_growth, batch):
    growth = fossil(gated_growth(ramp_epochs=1), batch)
    model = growth.slot_set.model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotPlainWarning)
        plain = export_network(model)
    assert parameter_count(plain) == parameter_count(model)
    assert count_flops(plain, batch[0]) == count_flops(model, batch[0])
    torch.testing.assert_close(plain(batch[0]), model(batch[0]))
    assert not {type(module).__module__ for module in plain.modules() if "esper" in type(module).__module__}
    exported = torch.export.export(plain, (batch[0],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for rows in (batch[0][:5], batch[0]):
        torch.testing.assert_close(exported.module()(rows), model(rows))
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    assert b"esper_core" not in buffer.getvalue()


# Ramps.


def ramp(growth, slot, epochs, steps=4):
    """The alphas of a slot over some epochs, step by step."""
    seen = []
    for epoch in range(epochs):
        for step in range(steps):
            growth.set_alphas(epoch, (step + 1) / steps)
            seen.append(float(growth.slot_set.slots[slot].alpha))
    return seen


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(own=st.none() | st.integers(0, 6), blend=st.sampled_from(Blend))
def test_each_seed_may_have_a_ramp_of_its_own_length(make_growth, host_class, own, blend):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=3)
    growth.germinate("block0", "conv", blend, 0, ramp_epochs=own)
    growth.germinate("block1", "conv", blend, 0)
    growth.tick(0)
    length = 3 if own is None else own
    alphas, usual = ramp(growth, "block0", 8), ramp(growth, "block1", 8)
    assert alphas == sorted(alphas)
    assert alphas.count(1.0) == 32 - max(0, 4 * length - 1)
    assert usual.count(1.0) == 32 - 11
    for state, expected in zip(growth.states(7), (length, 3), strict=True):
        assert (state.blend, state.ramp_epochs) == (blend, expected)
        assert state.settled_epochs == 7 - expected


def test_a_ramp_of_its_own_has_its_own_patience(make_growth, host_class, gate_class, all_pass):
    never = gate_class(next(level for level in all_pass if level == "G3"), lambda _: False)
    growth = make_growth(
        host_class(),
        gates={**all_pass, never.level: never},
        incubation="none",
        ramp_epochs=1,
        blending_timeout_epochs=2,
    )
    growth.germinate("block0", "conv", Blend.LINEAR, 0, ramp_epochs=4)
    growth.germinate("block1", "conv", Blend.LINEAR, 0)
    culled = {}
    for epoch in range(8):
        culled |= {t.slot: epoch for t in growth.tick(epoch) if t.target is Stage.CULLED}
        growth.judge(growth.evidence(epoch), None)
    assert culled == {"block1": 3, "block0": 6}


def test_alpha_1_at_once_is_a_baseline_without_trial_and_without_ramp(make_growth, host_class, batch):
    """Incubation none and a ramp of 0: from its first step on the seed acts in full."""
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    growth.germinate("block0", "loud", Blend.SIGMOID, 0)
    (transition,) = growth.tick(0)
    slot = growth.slot_set.slots["block0"]
    assert (transition.source, transition.target) == (Stage.GERMINATED, Stage.BLENDING)
    assert {gate.gate for gate in transition.gates} == {"G0", "G1"}
    assert float(slot.alpha) == 1.0
    assert ramp(growth, "block0", 2) == [1.0] * 8
    h = torch.randn(3, 8, 4, 4)
    assert torch.equal(slot.act(h), h + slot.seed(h))
    (evidence,) = growth.evidence(0)
    assert evidence.ramp_done
    assert evidence.settled_epochs == 1
    before = [p.detach().clone() for p in slot.seed.parameters()]
    train(growth, batch, steps=1)
    assert all(not torch.equal(a, b) for a, b in zip(before, slot.seed.parameters(), strict=True))
