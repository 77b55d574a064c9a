"""Hosts in mixed precision and with a compiled trunk: what they do is right, and the same each time."""

import pytest
import torch
from attrs import define, evolve
from torch import nn

from esper_app.configuration.training import TrainingConfig
from esper_app.execution.mixed_precision import LossScaler
from esper_app.execution.numerics import RunNumerics
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import HostBuild
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Blend, Stage
from esper_core.tolaria import evidence as collecting
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.measuring import measure
from esper_core.tolaria.numerics import Numerics
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
    """Run the script up to epoch `until`."""
    while host.grower.epoch < until:
        if states is not None:
            states.append(capture(host))
        assert host.apply(SCRIPT.get(host.grower.epoch, WAIT)).verdict.allowed
        host.epoch()


def assert_equal_hosts(first, second):
    a, b = capture(first).tensors, capture(second).tensors
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
        assert a[name].stride() == b[name].stride(), name


@pytest.fixture
def computed(plan):
    """Return a function that makes the plan of a host that is computed as these settings say."""
    inputs = plan.splits.train.inputs
    return lambda **settings: evolve(plan, numerics=lambda: RunNumerics(TrainingConfig(**settings), inputs))


def host_tensors(host):
    return {name: t for name, t in host.model.state_dict().items() if not name.startswith("esper.")}


class TestMixedPrecision:
    def test_the_network_computes_in_bfloat16_and_everything_else_in_float32(self, computed):
        host = GrowingHost(computed(precision="bf16"))
        live(host, 4)
        seen = {}
        host.model.head.register_forward_hook(lambda module, args, output: seen.update(inside=output.dtype))
        sample = host.plan.splits.validation.inputs[:4]
        assert host.model(sample).dtype is torch.float32
        assert seen["inside"] is torch.bfloat16
        assert not torch.is_autocast_enabled("cpu")
        assert {t.dtype for t in capture(host).tensors.values() if t.is_floating_point()} == {torch.float32}

    def test_a_pass_that_raises_leaves_no_region_behind(self, computed):
        host = GrowingHost(computed(precision="bf16"))
        with pytest.raises(RuntimeError):
            host.model(torch.zeros(2, 3, 6, 6))
        assert not torch.is_autocast_enabled("cpu")
        assert host.model(host.plan.splits.validation.inputs[:4]).dtype is torch.float32

    def test_counterfactuals_leave_no_trace_in_the_weights(self, computed, monkeypatch):
        plan = computed(precision="bf16")
        with_them, without = GrowingHost(plan), GrowingHost(plan)
        live(with_them, plan.epochs)

        def plain(slot_set, criterion, split, settings=(), **rest):
            measured = measure(slot_set, criterion, split, (), **rest)
            return evolve(measured, losses=(measured.metrics.sample_losses,) * len(settings))

        monkeypatch.setattr(collecting, "measure", plain)
        live(without, plan.epochs)
        assert_equal_hosts(with_them, without)

    def test_a_region_around_everything_keeps_no_cast_of_earlier_weights(self, computed):
        plan = computed(precision="bf16")
        plain, inside = GrowingHost(plan), GrowingHost(plan)
        live(plain, 5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            live(inside, 5)
            state = capture(inside)
            live(inside, 6)
            restore(inside, state)
            live(inside, 7)
        live(plain, 7)
        assert_equal_hosts(plain, inside)

    @pytest.mark.parametrize("incubation", ["ste", "probe"])
    def test_a_seed_in_training_leaves_the_host_bit_for_bit_alone(self, computed, incubation):
        plan = computed(precision="bf16")
        plan = evolve(plan, lifecycle=evolve(plan.lifecycle, incubation=incubation, incubation_epochs=9))
        grown, twin = GrowingHost(plan), GrowingHost(plan)
        isolated = []
        for epoch in range(4):
            grown.apply(SCRIPT.get(epoch, WAIT))
            isolated += [s.isolated for s in grown.epoch().evidence.seeds if s.stage is Stage.TRAINING]
            twin.epoch()
            ours = host_tensors(grown)
            assert all(torch.equal(t, ours[name]) for name, t in host_tensors(twin).items())
            if any(held.forward_mode is ForwardMode.ISOLATED for held in grown.growth.slot_set.slots.values()):
                break
        assert isolated
        assert all(isolated)

    def test_evidence_is_about_that_of_full_precision_and_costs_are_the_same(self, computed, plan):
        half, full = GrowingHost(computed(precision="bf16")), GrowingHost(plan)
        for epoch in range(4):
            for host in (half, full):
                host.apply(SCRIPT.get(epoch, WAIT))
            a, b = half.epoch().evidence, full.epoch().evidence
            assert a.compute == b.compute
            assert a.forward_flops == b.forward_flops
            assert a.train.loss == pytest.approx(b.train.loss, rel=0.02, abs=1e-3)
            assert a.validation.loss == pytest.approx(b.validation.loss, rel=0.02, abs=1e-3)
            for one, other in zip(a.seeds, b.seeds, strict=True):
                assert one.gradients_finite == other.gradients_finite
                assert one.finite == other.finite
                assert one.bounded == other.bounded
                assert one.update_ratio == pytest.approx(other.update_ratio, rel=0.1, abs=1e-3)
                assert one.gradient_ratio == pytest.approx(other.gradient_ratio, rel=0.1)

    def test_the_batch_forks_as_in_full_precision_and_gives_what_separate_passes_give(self, computed):
        host = GrowingHost(computed(precision="bf16"))
        live(host, 4)
        settings = [{"block1": 0.0}, {"block0": 0.0}, {"block0": 0.0, "block1": 0.0}]
        found = measure(host.growth.slot_set, host.plan.task, host.plan.splits.validation, settings)
        assert found.passes == 1
        for setting, losses in zip(settings, found.losses, strict=True):
            with host.growth.slot_set.override(setting):
                alone = measure(host.growth.slot_set, host.plan.task, host.plan.splits.validation)
            assert torch.tensor(losses) == pytest.approx(torch.tensor(alone.metrics.sample_losses), rel=0.05, abs=0.02)

    @pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"compile": "trunk", "compile_backend": "aot_eager"}])
    def test_a_restored_host_goes_on_bit_by_bit(self, computed, settings):
        plan, states = computed(**settings), []
        whole = GrowingHost(plan)
        live(whole, plan.epochs, states)
        for epoch in (3, 7):
            resumed = GrowingHost(plan)
            restore(resumed, states[epoch])
            live(resumed, plan.epochs)
            assert_equal_hosts(whole, resumed)

    @pytest.mark.parametrize("make", [lambda: nn.GroupNorm(4, 16), lambda: nn.BatchNorm2d(16)])
    def test_torchs_normalisers_compute_in_float32_whatever_they_are_given(self, make):
        h = (torch.randn(8, 16, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 50).bfloat16()
        rough, exact = make(), make()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = rough(h)
        expected = exact(h.float())
        spacing = torch.finfo(torch.bfloat16).eps * expected.abs().clamp(min=1.0)
        assert bool(((found.float() - expected).abs() <= spacing).all())
        assert all(torch.allclose(a, b) for a, b in zip(rough.buffers(), exact.buffers(), strict=True))


@define
class _Slots:
    """What a loss scaler looks at in a host's slots."""

    optimizer: torch.optim.Optimizer
    host_parameters: tuple[nn.Parameter, ...]
    seeds: dict[str, nn.Parameter]

    @property
    def slots(self):
        return self.seeds

    def seed_parameters(self, slot):
        return [self.seeds[slot]]


class TestLossScaler:
    @pytest.fixture
    def scaled(self):
        host, good, bad = (nn.Parameter(torch.ones(2)) for _ in range(3))
        optimizer = torch.optim.SGD([host, good, bad], lr=0.1)
        return LossScaler("cpu", 8.0), _Slots(optimizer, (host,), {"good": good, "bad": bad}), (host, good, bad)

    def step(self, scaler, slots, loss):
        slots.optimizer.zero_grad(set_to_none=True)
        scaler.backward(loss)
        scaler.unscale(slots)
        gradients = [None if p.grad is None else p.grad.clone() for p in slots.host_parameters]
        scaler.step(slots.optimizer)
        return gradients

    def test_a_seed_that_overflows_sits_out_alone(self, scaled):
        scaler, slots, (host, good, bad) = scaled
        (gradient,) = self.step(scaler, slots, host.sum() + 2 * good.sum() + (bad * torch.inf).sum())
        assert torch.equal(gradient, torch.ones(2))
        assert torch.equal(host, torch.full((2,), 0.9))
        assert torch.equal(good, torch.full((2,), 0.8))
        assert torch.equal(bad, torch.ones(2))
        assert scaler.overflowed == {"bad": 1}
        assert scaler.record()["scaler"]["scale"] == 8.0

    def test_where_the_host_overflows_nothing_is_updated_and_the_scale_is_halved(self, scaled):
        scaler, slots, parameters = scaled
        self.step(scaler, slots, (parameters[0] * torch.inf).sum() + parameters[1].sum())
        assert all(torch.equal(p, torch.ones(2)) for p in parameters)
        assert scaler.overflowed == {"host": 1}
        assert scaler.record()["scaler"]["scale"] == 4.0

    def test_seeds_are_trained_where_the_host_is_not(self, scaled):
        scaler, slots, (host, good, bad) = scaled
        self.step(scaler, slots, 2 * good.sum() + bad.sum())
        assert torch.equal(host, torch.ones(2))
        assert torch.equal(good, torch.full((2,), 0.8))
        assert torch.equal(bad, torch.full((2,), 0.9))

    def test_the_scale_goes_on_where_it_was(self, scaled):
        scaler, slots, parameters = scaled
        self.step(scaler, slots, (parameters[0] * torch.inf).sum())
        other = LossScaler("cpu")
        other.restore(scaler.record())
        assert other.record() == scaler.record()


def branching():
    class Branching(nn.Module):
        """Its first block depends on values, which Dynamo cannot make one graph of."""

        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Odd(), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())])
            self.head = nn.Linear(4 * 36, 4)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x.flatten(1))

    return HostBuild(module=Branching(), sites=tuple(SiteRequest(path=f"blocks.{i}", id=f"block{i}") for i in range(2)))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return torch.relu(y) if y.sum() > 0 else torch.tanh(y)


class TestCompiledTrunk:
    @pytest.fixture(autouse=True)
    def _forgotten(self):
        torch.compiler.reset()
        yield
        torch.compiler.reset()

    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_a_whole_life_has_the_bits_of_the_uncompiled_host(self, computed, plan, backend):
        compiled, plain = GrowingHost(computed(compile="trunk", compile_backend=backend)), GrowingHost(plan)
        notices = {}
        while plain.grower.epoch < plan.epochs:
            epoch = plain.grower.epoch
            for host in (compiled, plain):
                assert host.apply(SCRIPT.get(epoch, WAIT)).verdict.allowed
            notices[epoch] = compiled.epoch().notices
            plain.epoch()
        assert_equal_hosts(compiled, plain)
        told = compiled.finish().numerics["compile"]
        assert told["regions"] == ["blocks.0", "blocks.1", "esper.block1.seed"]
        assert told["not_compiled"] == {}
        # A graph for each region and shape of a batch, and two more for the fossil; none for any other change.
        assert [change["graphs"] for change in told["changes"]] == [4, 2]
        assert told["changes"][1]["seeds"]["block1"] == "fossil"
        assert {epoch for epoch, said in notices.items() if said} == {0, 5}
        assert "made 4 graphs of the trunk (no seeds)" in notices[0][0]

    def test_nothing_of_it_is_left_outside_of_a_step(self, computed):
        host = GrowingHost(computed(compile="trunk", compile_backend="eager"))
        host.epoch()
        assert not any("forward" in vars(module) for module in host.model.modules())

    def test_what_is_no_single_graph_runs_as_it_is_and_the_run_says_why(self, computed):
        plan = evolve(computed(compile="trunk", compile_backend="eager"), build=branching)
        compiled, plain = GrowingHost(plan), GrowingHost(evolve(plan, numerics=Numerics))
        said = [compiled.epoch().notices for _ in range(2)]
        for _ in range(2):
            plain.epoch()
        assert_equal_hosts(compiled, plain)
        assert [text.partition(":")[0] for text in said[0] if "not compiled" in text] == ['"blocks.0" is not compiled']
        assert said[1] == ()
        told = compiled.finish().numerics["compile"]
        assert told["regions"] == ["blocks.1"]
        assert [*told["not_compiled"]] == ["blocks.0"]


class TestMemoryFormat:
    @pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
    def test_activations_have_it_from_the_first_batch_to_the_restored_state(self, computed, memory_format):
        plan = computed(memory_format=memory_format)
        torchs = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
        host = GrowingHost(plan)
        live(host, 3)
        restored = GrowingHost(plan)
        restore(restored, capture(host))
        seen = []
        for block in restored.model.blocks:
            block.register_forward_hook(lambda module, args, output: seen.append(output) if module.training else None)
        live(restored, 4)
        live(host, 4)
        assert seen
        assert all(h.is_contiguous(memory_format=torchs) for h in seen)
        assert_equal_hosts(host, restored)

    def test_a_host_without_images_is_refused_by_name(self, computed):
        plan = computed(memory_format="channels_last")

        def flat():
            module = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))
            return HostBuild(module=module, sites=(SiteRequest(path="1", id="block0"),))

        with pytest.raises(EsperError, match="none of its sites has images") as caught:
            GrowingHost(evolve(plan, build=flat))
        assert caught.value.code == "E202"
