"""Copies, other processes, compiled code: a grown model is an ordinary module."""

import copy
import io

import pytest
import torch
import torch.multiprocessing
from torch.nn.functional import cross_entropy

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.stages import Blend


@pytest.fixture
def blending(make_growth, host_class):
    """A growth with one seed at alpha 0.5 and one in training."""
    growth = make_growth(host_class(norm="group"), incubation="none", ramp_epochs=2)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    growth.set_alphas(0, 1.0)
    return growth


def test_a_copy_is_independent_of_its_original(blending, batch):
    original, inputs = blending.slot_set.model.eval(), batch[0]
    twin = copy.deepcopy(original)
    before = original(inputs)
    assert torch.equal(twin(inputs), before)
    with torch.no_grad():
        for p in twin.esper.parameters():
            p.mul_(3.0)
    twin.esper["block0"].set_alpha(1.0)
    assert torch.equal(original(inputs), before)
    assert not torch.equal(twin(inputs), before)
    twin.esper["block0"].detach()
    assert not twin.blocks[0]._forward_hooks
    assert torch.equal(original(inputs), before)


def test_a_pickled_model_acts_as_its_original(blending, batch):
    buffer = io.BytesIO()
    torch.save(blending.slot_set.model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert torch.equal(loaded(batch[0]), blending.slot_set.model(batch[0]))
    assert next(iter(loaded.blocks[0]._forward_hooks.values())).__self__ is loaded.esper["block0"]


def _forward(model, inputs, answers):
    torch.set_num_threads(1)
    answers.put(model(inputs).detach().tolist())


@pytest.mark.slow
def test_a_model_works_in_a_spawned_process(blending, batch):
    context = torch.multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_forward, args=(blending.slot_set.model, batch[0], answers))
    process.start()
    answer = torch.tensor(answers.get())
    process.join()
    assert torch.equal(answer, blending.slot_set.model(batch[0]).detach())


def test_a_compiled_model_notices_a_germination_and_a_cull(make_growth, host_class, batch):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    compiled = torch.compile(growth.slot_set.model, backend="aot_eager")
    bare = compiled(batch[0])
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    grown = compiled(batch[0])
    assert torch.allclose(grown, growth.slot_set.model(batch[0]))
    assert not torch.allclose(grown, bare)
    cross_entropy(grown, batch[1]).backward()
    assert all(p.grad is not None for p in growth.slot_set.seed_parameters("block0"))
    growth.cull("block0", 1)
    assert torch.equal(compiled(batch[0]), bare)


@pytest.mark.parametrize("forward_mode", ForwardMode)
def test_every_regime_compiles_without_a_graph_break(blending, batch, forward_mode):
    blending.slot_set.slots["block0"].enter(forward_mode)
    compiled = torch.compile(blending.slot_set.model, backend="aot_eager", fullgraph=True)
    eager = blending.slot_set.model(batch[0])
    assert torch.allclose(compiled(batch[0]), eager)
    gradients = [
        torch.autograd.grad(run(batch[0]).sum(), blending.slot_set.host_parameters)
        for run in (compiled, blending.slot_set.model)
    ]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_alpha_changes_without_compiling_again(blending, batch):
    compiled = torch.compile(blending.slot_set.model, backend="aot_eager")
    compiled(batch[0])
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    first = compiled(batch[0])
    blending.slot_set.slots["block0"].set_alpha(0.9)
    assert not torch.equal(compiled(batch[0]), first)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_activation_checkpointing_runs_the_hook_twice_and_changes_nothing(make_growth, host_class, batch):
    class Checkpointed(host_class):
        use = False

        def forward(self, x):
            for block in self.blocks:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if self.use else block(x)
            return self.head(x.mean(dim=(2, 3)))

    growth = make_growth(Checkpointed(dropout=0.2), incubation="none", ramp_epochs=2)
    growth.germinate("block0", "dropout", Blend.LINEAR, 0)
    growth.tick(0)
    growth.set_alphas(0, 1.0)
    model, gradients = growth.slot_set.model, []
    for use in (False, True):
        model.use = use
        model.zero_grad()
        torch.manual_seed(4)
        cross_entropy(model(batch[0]), batch[1]).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_seed_draws_from_its_own_stream_and_anew_at_every_position(make_growth, host_class, batch):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=0)
    growth.germinate("block0", "dropout", Blend.LINEAR, 0)
    growth.tick(0)
    slot = growth.slot_set.slots["block0"]
    with torch.no_grad():
        slot.seed.gain.gain.fill_(1.0)
    h = torch.randn(4, 8, 4, 4)
    state = torch.get_rng_state()
    first, again = slot.update(h), slot.update(h)
    growth.set_position(1)
    later = slot.update(h)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert torch.equal(state, torch.get_rng_state())


def test_germination_leaves_the_global_random_state_alone(make_growth, host_class):
    growth = make_growth(host_class())
    state = torch.get_rng_state()
    growth.germinate("block0", "dropout", Blend.LINEAR, 0)
    growth.tick(0)
    assert torch.equal(state, torch.get_rng_state())


def test_a_compiled_model_can_be_grown(make_growth, host_class, batch):
    compiled = torch.compile(host_class(), backend="aot_eager")
    bare = compiled(batch[0])
    growth = make_growth(compiled, incubation="none", ramp_epochs=0)
    growth.germinate("block1", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    assert not torch.allclose(compiled(batch[0]), bare)
