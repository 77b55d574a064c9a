"""Compiled networks beside each other: what has grown in one is in its code, and in nobody else's."""

import copy
import io

import pytest
import torch
from torch import nn

from esper_core.kasmina.compiled import mark_hooked, own_class, unmark_hooked
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.stages import Blend


@pytest.fixture(autouse=True)
def _forgotten():
    """The code of the host's class is kept for all of its instances, those of other tests included."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def graphs():
    """Return a function that counts what was compiled so far."""
    return lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _agree(compiled, model, inputs):
    return torch.allclose(compiled(inputs), model(inputs), atol=1e-6)


def test_a_seed_acts_through_its_life_beside_a_compiled_neighbour_whose_code_stays(
    make_growth, host_class, batch, graphs
):
    inputs = batch[0]
    neighbour, model = host_class(), host_class()
    run, beside = (torch.compile(m, backend="eager") for m in (model, neighbour))
    bare, other = run(inputs), beside(inputs)
    growth = make_growth(model, incubation="ste", ramp_epochs=2)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    assert torch.equal(run(inputs), bare)  # straight through: only the gradient tells
    run(inputs).sum().backward()
    assert all(p.grad is not None for p in growth.slot_set.seed_parameters("block0"))
    for forward_mode in (ForwardMode.ISOLATED, ForwardMode.OPEN, ForwardMode.FOSSIL):
        growth.slot_set.slots["block0"].enter(forward_mode)
        growth.slot_set.slots["block0"].set_alpha(0.5)
        assert not torch.allclose(run(inputs), bare)
        assert _agree(run, model, inputs)
        before = graphs()
        assert torch.equal(beside(inputs), other)
        assert graphs() == before, "the neighbour's code was thrown away"
    growth.cull("block0", 1)
    assert torch.equal(run(inputs), bare)


def test_a_neighbour_that_is_compiled_later_does_not_get_the_grown_code(make_growth, host_class, batch):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    growth.germinate("block1", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    grown = torch.compile(growth.slot_set.model, backend="eager")
    assert _agree(grown, growth.slot_set.model, batch[0])
    neighbour = host_class()
    assert _agree(torch.compile(neighbour, backend="eager"), neighbour, batch[0])
    assert _agree(grown, growth.slot_set.model, batch[0])


def test_two_compiled_networks_with_different_seeds_keep_apart(make_growth, host_class, batch):
    growths = [make_growth(host_class(), incubation="none", ramp_epochs=0, seed=seed) for seed in (1, 2)]
    runs = [torch.compile(growth.slot_set.model, backend="eager") for growth in growths]
    for growth, blueprint in zip(growths, ("loud", "norm-first"), strict=True):
        growth.germinate("block0", blueprint, Blend.LINEAR, 0)
        growth.tick(0)
        for run, one in zip(runs, growths, strict=True):
            assert _agree(run, one.slot_set.model, batch[0])


def test_beyond_the_limit_of_recompilations_the_network_runs_uncompiled_and_right(make_growth, host_class, batch):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0, embargo_epochs=0)
    run = torch.compile(growth.slot_set.model, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=2):
        _germinate_often(growth, run, batch[0])


def _germinate_often(growth, run, inputs):
    for epoch, blueprint in enumerate(["loud", "norm-first", "conv", "loud"]):
        growth.germinate("block0", blueprint, Blend.LINEAR, epoch)
        growth.tick(epoch)
        assert _agree(run, growth.slot_set.model, inputs)
        growth.clear()
        growth.seeds.clear()
        assert _agree(run, growth.slot_set.model, inputs)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: _pickled(model)])
def test_a_copy_of_a_grown_network_beside_a_compiled_bare_one_keeps_its_seed(make_growth, host_class, batch, how):
    neighbour = host_class()
    torch.compile(neighbour, backend="eager")(batch[0])
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    twin = how(growth.slot_set.model)
    assert _agree(torch.compile(twin, backend="eager"), growth.slot_set.model, batch[0])
    twin.esper["block0"].detach()
    assert type(twin.blocks[0]) is nn.Sequential


def _pickled(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def test_the_own_class_is_there_again_when_the_last_slot_has_gone(make_growth, host_class):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    block = growth.slot_set.model.blocks[0]
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    assert isinstance(block, nn.Sequential)
    assert own_class(block) is nn.Sequential
    assert repr(type(block)) == repr(nn.Sequential)
    growth.cull("block0", 1)
    assert type(block) is nn.Sequential


def test_a_class_that_allows_no_subclass_is_refused_by_name():
    class Final(nn.Linear):
        def __init_subclass__(cls, **kwargs):
            raise TypeError("Final is final")

    with pytest.raises(EsperError, match="Final is final") as caught:
        mark_hooked(Final(2, 2))
    assert caught.value.code == "E401"


def test_a_module_of_which_nothing_is_marked_stays_as_it_is():
    layer = nn.Linear(2, 2)
    unmark_hooked(layer)
    assert type(layer) is nn.Linear
