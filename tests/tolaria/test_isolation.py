"""The isolation monitor finds a seed that reaches its host, and disturbs nothing itself."""

import pytest
import torch

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.stages import Blend
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.isolation import prove_isolation
from esper_core.tolaria.state import capture

GERMINATE = Action(op=Op.GERMINATE, slot="block1", blueprint="random", blend=Blend.LINEAR)


@pytest.fixture
def training(plan):
    """A host with one seed in training, and one batch."""
    host = GrowingHost(plan)
    host.epoch()
    host.apply(GERMINATE)
    host.epoch()
    host.model.train()
    return host, plan.splits.train.inputs[:16], plan.splits.train.targets[:16]


def prove(training):
    host, inputs, targets = training
    return prove_isolation(host.growth.slot_set, host.plan.task, inputs, targets, ["block1"], probe_alpha=0.1)


def test_a_straight_through_seed_is_proved_isolated(training):
    assert prove(training) == {"block1": True}


@pytest.mark.parametrize("forward_mode", [ForwardMode.OPEN, ForwardMode.ISOLATED, ForwardMode.FOSSIL])
def test_a_seed_that_is_added_is_found_out(training, forward_mode):
    slot = training[0].growth.slot_set.slots["block1"]
    slot.enter(forward_mode)
    slot.set_alpha(1.0)
    assert prove(training) == {"block1": False}


def test_a_seed_whose_gradient_leaks_is_found_out(training):
    slot = training[0].growth.slot_set.slots["block1"]
    slot.act = lambda h, mask=None: h if slot.override == 0.0 else h + 0.1 * (h - h.detach())
    assert prove(training) == {"block1": False}


def test_the_monitor_disturbs_nothing(training):
    host = training[0]
    before, state = capture(host), torch.get_rng_state()
    prove(training)
    after = capture(host)
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in host.model.parameters())


def test_the_proof_is_part_of_the_evidence(plan):
    host = GrowingHost(plan)
    host.epoch()
    host.apply(GERMINATE)
    (seed,) = host.epoch().evidence.seeds
    assert seed.isolated is True
    (seed,) = host.epoch().evidence.seeds
    assert seed.isolated is None  # it is blended in now
