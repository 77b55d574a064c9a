"""Seeds that fail or explode: the host's own output is used, autograd stays right, and a fossil is named."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from esper_core.kasmina.forward_mode import ForwardMode, RowNorms, add_bounded
from esper_core.kasmina.serialization import growth_record, restore_growth
from esper_core.kasmina.slot import Slot
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Cause, Stage

MODES = [ForwardMode.STRAIGHT_THROUGH, ForwardMode.ISOLATED, ForwardMode.OPEN]
SITE = Site(id="hidden", path="0", layout=Layout.BD, width=8, sample_shape=(8,))


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class Misbehaving(nn.Module):
    """A linear seed that does something else at the first call on a batch of three."""

    def __init__(self, site=SITE, does=None):
        super().__init__()
        self.linear = nn.Linear(site.width, site.width)
        self.does = does
        self.calls = 0

    def forward(self, h):
        self.calls += 1
        delta = self.linear(h)
        return self.does(h, delta) if self.does is not None and len(h) == 3 else delta


def _raise(error):
    raise error


FAILURES = {
    "an error": (lambda h, d: _raise(RuntimeError("too late")), "RuntimeError: too late"),
    "the end of the program": (lambda h, d: _raise(SystemExit(0)), "SystemExit: 0"),
    "an end of a generator": (lambda h, d: _raise(GeneratorExit()), "GeneratorExit"),
    "no text": (lambda h, d: _raise(UnspeakableError()), "UnspeakableError"),
    "a lone surrogate": (lambda h, d: _raise(ValueError("\ud800")), "ValueError: \\ud800"),
    "another shape": (lambda h, d: d[:1], "shape (1, 8) on cpu for an activation of shape (3, 8)"),
    "no tensor": (lambda h, d: None, "it returned a NoneType"),
    "a write": (lambda h, d: (h.detach().mul_(0), d)[1], "has written into"),
}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def attached(net, does=None, mode=ForwardMode.ISOLATED, blueprint="mine"):
    slot = Slot(SITE, Misbehaving(does=does), blueprint=blueprint)
    slot.attach(net[0])
    slot.enter(mode)
    slot.set_alpha(0.5)
    return slot


def gradients(net, inputs):
    net.zero_grad()
    out = net(inputs)
    cross_entropy(out, torch.arange(len(inputs)) % 3).backward()
    return [out, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("failure", FAILURES)
def test_where_a_seed_fails_the_host_runs_as_without_it(net, failure, mode):
    does, reason = FAILURES[failure]
    bare = copy.deepcopy(net)
    slot = attached(net, does, mode)
    inputs = torch.randn(3, 8)
    for found, expected in zip(gradients(net, inputs), gradients(bare, inputs), strict=True):
        assert torch.equal(found, expected)
    assert all(parameter.grad is None for parameter in slot.seed.parameters())
    assert reason in slot.failure


def test_a_seed_that_has_failed_is_not_asked_again_in_later_steps(net):
    slot = attached(net, FAILURES["an error"][0])
    bare = net[0].forward
    for slot.position in range(3):
        net(torch.randn(3, 8))
    assert slot.seed.calls == 1
    sample = torch.randn(5, 8)
    with torch.no_grad():
        assert torch.equal(net[0](sample), bare(sample))
    assert slot.seed.calls == 1


def test_an_interrupt_is_no_failure_of_the_seed(net):
    slot = attached(net, lambda h, d: _raise(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        net(torch.randn(3, 8))
    assert not slot.failure


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("does", [None, FAILURES["an error"][0]], ids=["sane", "failing"])
def test_activation_checkpointing_computes_the_same_again(net, does, mode):
    """The first pass fails and so does its repetition; checkpointing's own way to end a pass is no failure."""
    slot = attached(net, does, mode)
    inputs, kept = torch.randn(3, 8), copy.deepcopy(net)
    expected = gradients(kept, inputs)
    net.zero_grad()
    out = checkpoint(net, inputs.clone().requires_grad_(), use_reentrant=False)
    cross_entropy(out, torch.arange(3) % 3).backward()
    for found, wanted in zip([out, *(p.grad for p in net.parameters())], expected, strict=True):
        assert torch.equal(found, wanted)
    assert bool(slot.failure) == (does is not None)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_fossil_that_fails_is_an_error_that_names_slot_and_blueprint_every_time(net, failure):
    slot = attached(net, FAILURES[failure][0], ForwardMode.FOSSIL, blueprint="mine")
    for slot.position in range(2):
        with pytest.raises(EsperError) as caught:
            net(torch.randn(3, 8))
        assert caught.value.code == "E407"
        assert 'slot "hidden"' in str(caught.value)
        assert '"mine"' in str(caught.value)
        assert FAILURES[failure][1] in str(caught.value)
        assert caught.value.fix


def test_a_fossil_runs_in_inference_mode(net):
    attached(net, mode=ForwardMode.FOSSIL)
    with torch.inference_mode():
        assert net(torch.randn(4, 8)).shape == (4, 3)


def test_a_seed_that_writes_into_its_input_at_once_is_not_planted(make_growth, host_class):
    growth = make_growth(host_class())
    growth.planter.seed_factories["writer"] = copy.copy(growth.planter.seed_factories["conv"])
    object.__setattr__(growth.planter.seed_factories["writer"], "build", lambda site: _Writer())
    growth.germinate("block0", "writer", Blend.LINEAR, 0)
    (transition,) = growth.tick(0)
    assert transition.target is Stage.CULLED
    assert "has written into its input" in transition.reason


class _Writer(nn.Module):
    def forward(self, h):
        return h.relu_() * 0


def test_a_failed_seed_is_culled_with_its_reason_and_the_failure_is_saved(make_growth, host_class, batch):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    slot = growth.slot_set.slots["block0"]
    slot.failure = "its forward raised RuntimeError: too late"
    other = make_growth(host_class(), incubation="none", ramp_epochs=0)
    restore_growth(other, growth_record(growth))
    for one in (growth, other):
        (culled,) = one.cull_failed(0)
        assert (culled.target, culled.cause, culled.reason) == (Stage.CULLED, Cause.SAFETY, slot.failure)
        assert not one.slot_set.slots
        assert len(one.slot_set.optimizer.param_groups) == 1
        assert one.cull_failed(0) == []


def sized(rows, factor, dtype=torch.float32):
    h = torch.randn(rows, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
    return h, (torch.randn(rows, 8, generator=torch.Generator().manual_seed(3)).to(dtype) * factor)


def rms(x):
    return x.double().square().mean(-1).sqrt()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_sane_update_is_added_bit_for_bit_as_it_is(dtype):
    h, delta = sized(6, 0.3, dtype)
    alpha = torch.tensor(0.5)
    found = add_bounded(h, delta, alpha, limit=2.0, axes=(1,))
    assert found.dtype == dtype
    assert torch.equal(found, h + alpha * delta)
    assert torch.equal(add_bounded(h, torch.zeros_like(h), alpha, limit=2.0, axes=(1,)), h)
    assert torch.equal(add_bounded(h, delta, torch.tensor(0.0), limit=2.0, axes=(1,)), h)
    assert torch.equal(add_bounded(0 * h, 0 * delta, alpha, limit=2.0, axes=(1,)), 0 * h)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factor", [3.0, 30.0, 1e4, 1e30, 1e300, math.inf, -math.inf, math.nan])
def test_no_update_exceeds_its_limit_and_one_that_explodes_adds_next_to_nothing(factor, dtype):
    h, delta = sized(6, factor, dtype)
    h.requires_grad_()
    delta.requires_grad_()
    out = add_bounded(h, delta, torch.tensor(1.0), limit=2.0, axes=(1,))
    assert bool(out.isfinite().all())
    added, size = rms(out.detach().double() - h.detach().double()), rms(h.detach())
    assert bool((added <= 2.02 * size).all())
    if not factor < 1e4:
        assert bool((added <= 1e-2 * size).all())
    out.backward(torch.ones_like(out))
    assert torch.equal(h.grad, torch.ones_like(h))
    assert bool(delta.grad.isfinite().all())


def test_the_bound_falls_with_the_square_beyond_the_limit_and_knows_rows_only():
    h, delta = sized(4, 1.0)
    delta = delta / rms(delta)[:, None].float() * rms(h)[:, None].float()
    delta[1] *= 4.0
    delta[2] = math.nan
    factors = RowNorms.of(h, delta, (1,)).factor(2.0).squeeze(1)
    assert factors.tolist() == pytest.approx([1.0, 0.25, 0.0, 1.0], abs=1e-5)
    out = add_bounded(h, delta, torch.tensor(1.0), limit=2.0, axes=(1,))
    assert torch.equal(out[[0, 3]], h[[0, 3]] + delta[[0, 3]])
    assert torch.equal(out[2], h[2])


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (3, 4, 5, 5)), ("BTD", (3, 5, 4)), ("BD", (3, 4))])
def test_the_rows_of_a_layout_are_images_positions_and_vectors(layout, shape):
    h = torch.randn(shape)
    delta = 0.1 * torch.randn(shape)
    delta[(1, *(0 for _ in shape[1:]))] = math.nan
    out = add_bounded(h, delta, torch.tensor(1.0), limit=2.0, axes=Layout(layout).row_axes)
    changed = (out != h).flatten(1).all(1).tolist()
    assert changed[0]
    assert changed[2]
    assert bool(out.isfinite().all())
    if layout == "BTD":  # only that position is left out: a causal network must not learn of what comes later
        assert torch.equal(out[1, 0], h[1, 0])
        assert bool((out[1, 1:] != h[1, 1:]).any())
    else:
        assert torch.equal(out[1], h[1])


def test_channels_last_stays_channels_last():
    h = torch.randn(3, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    out = add_bounded(h, torch.randn(3, 8, 5, 5), torch.tensor(1.0), limit=2.0, axes=(1, 2, 3))
    assert out.stride() == h.stride()
