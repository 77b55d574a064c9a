"""What `measure` leaves behind, how large its batches are, and when a growing host's batch may grow."""

import pytest
import torch
from attrs import evolve
from torch import Tensor, nn

from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.protocols import HostBuild, Split
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import Capability
from esper_core.leyline.stages import Blend
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.measuring import measure


def germinated(plan, *slots: str) -> GrowingHost:
    host = GrowingHost(plan)
    for slot in slots:
        host.apply(Action(op=Op.GERMINATE, slot=slot, blueprint="tanh", blend=Blend.LINEAR))
    return host


@pytest.fixture
def slot_set(plan) -> SlotSet:
    """Two live seeds that have been trained for one epoch."""
    host = germinated(plan, "block0", "block1")
    host.epoch()
    return host.growth.slot_set


def probes(slot_set: SlotSet) -> list[dict[str, float]]:
    return [{slot: 0.1} for slot in slot_set.slots]


def rows_of(module: nn.Module) -> list[int]:
    """Return a list that receives the number of rows whenever the module runs to be measured."""
    rows: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if not (module.training or output.is_meta):
            rows.append(len(output))

    module.register_forward_hook(hook)
    return rows


def test_measuring_leaves_no_trace(plan, slot_set):
    slot_set.model.train()
    modules = [*slot_set.model.modules()]
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in modules]
    tensors = {key: value.clone() for key, value in slot_set.model.state_dict().items()}
    random_state = torch.get_rng_state()
    measure(slot_set, plan.task, plan.splits.validation, probes(slot_set))
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(value, tensors[key]) for key, value in slot_set.model.state_dict().items())
    assert hooks == [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in modules]
    assert all(m.training for m in modules)
    assert all(slot.forward_override is None for slot in slot_set.slots.values())


def test_a_host_that_raises_leaves_no_trace_either(plan, slot_set):
    slot_set.model.head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(slot_set, plan.task, plan.splits.validation, probes(slot_set))
    assert all(slot.forward_override is None for slot in slot_set.slots.values())


def test_a_setting_of_an_empty_slot_is_an_error(plan):
    slot_set = germinated(plan).growth.slot_set
    with pytest.raises(KeyError, match="block1"):
        measure(slot_set, plan.task, plan.splits.validation, [{"block1": 0.0}])


def test_wide_activations_make_small_batches(plan):
    model = prepare_root(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)))
    rows = rows_of(model)
    for side, expected in ((6, [512, 88]), (66, [32] * 18 + [24])):  # at the site 4 * 4 * 4 and 4 * 64 * 64 floats
        inputs = torch.randn(600, 1, side, side)
        sites = confirm_sites(model, [SiteRequest(path="0")], lambda m, x=inputs: m(x[:2]))
        slot_set = SlotSet(model, sites, torch.optim.SGD(model.parameters(), lr=0.1))
        rows.clear()
        measure(slot_set, plan.task, Split(inputs=inputs, targets=torch.zeros(600, dtype=torch.long)))
        assert rows == [2, *expected]  # two samples to find out what the outputs hold


@pytest.mark.parametrize(("branches", "largest"), [(2, 512), (20, 512), (40, 256)])
def test_many_branches_make_small_batches(plan, slot_set, branches, largest):
    split = Split(inputs=torch.randn(600, 1, 6, 6), targets=torch.zeros(600, dtype=torch.long))
    settings = [{"block0": index / 64} for index in range(1, branches)]
    rows = rows_of(slot_set.model.head)
    assert measure(slot_set, plan.task, split, settings).passes == 1
    assert max(rows) == branches * largest


@pytest.mark.parametrize("declared", ["descriptor", "build"])
def test_a_declared_fixed_batch_is_kept(plan, variant, declared):
    capabilities = frozenset({Capability.FIXED_BATCH})

    def build() -> HostBuild:
        return evolve(plan.build(), capabilities=capabilities)

    host = germinated(
        variant(capabilities=capabilities) if declared == "descriptor" else variant(build=build), "block0"
    )
    rows = rows_of(host.model.head)
    evidence = host.epoch().evidence
    assert evidence.seeds[0].probe is not None
    assert rows == [16, 16, 16, 16, 8, 8]  # twice each batch of the training's size


def test_a_host_that_declares_nothing_is_forked(plan):
    host = germinated(plan, "block0")
    host.epoch()
    rows = rows_of(host.model.head)
    host.epoch()
    assert rows == [2 * len(plan.splits.validation.targets)]


@pytest.mark.slow
def test_measuring_compiles_nothing(plan, slot_set):
    """Code that was compiled for training would be compiled anew for every batch that grows."""

    def train() -> None:
        plan.task.losses(slot_set.model(split.inputs), split.targets).mean().backward()

    split, forks = plan.splits.validation, ForkMap()
    expected = measure(slot_set, plan.task, split, probes(slot_set), forks=forks).losses
    slot_set.model.train()
    slot_set.model.blocks[1].compile(backend="aot_eager")
    train()
    with torch.compiler.set_stance("fail_on_recompile"):
        assert measure(slot_set, plan.task, split, probes(slot_set)).losses == expected
        train()
