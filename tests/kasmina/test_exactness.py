"""What a seed does to its host: nothing while it is TRAINING, and never a frozen layer afterwards."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from esper_core.leyline.stages import Blend, Cause, Stage

FLAVOURS = {
    "plain": {},
    "channels_last": {"channels_last": True},
    "group-norm": {"norm": "group"},
    "group-norm channels_last": {"norm": "group", "channels_last": True},
    "batch-norm": {"norm": "batch"},
    "batch-norm channels_last": {"norm": "batch", "channels_last": True},
    "dropout": {"dropout": 0.3},
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def train(growth, batch, steps=3, seed=11):
    """Train a few steps and return everything of the host that training touches."""
    inputs, targets = batch
    model, optimizer = growth.slot_set.model.train(), growth.slot_set.optimizer
    seen = []
    torch.manual_seed(seed)
    for step in range(steps):
        growth.set_position(step)
        logits = model(inputs)
        optimizer.zero_grad()
        cross_entropy(logits, targets).backward()
        seen.append(logits.detach().clone())
        seen += [p.grad.clone() for p in growth.slot_set.host_parameters]
        optimizer.step()
    return seen + host_tensors(growth)


def host_tensors(growth):
    """The host's parameters, buffers and optimizer state, in a fixed order."""
    model, optimizer = growth.slot_set.model, growth.slot_set.optimizer
    buffers = [buffer for name, buffer in model.named_buffers() if not name.startswith("esper.")]
    states = [value for p in growth.slot_set.host_parameters for value in optimizer.state.get(p, {}).values()]
    return [t.clone() for t in [*growth.slot_set.host_parameters, *buffers, *(s for s in states if s is not None)]]


def assert_same(first, second):
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def germinate(growth, slot="block0", blueprint="loud", epoch=0):
    growth.germinate(slot, blueprint, Blend.LINEAR, epoch)
    growth.tick(epoch)
    return growth


@pytest.fixture
def pair(make_growth, host_class):
    """Two growths of equal hosts."""

    def make(flavour, optimizer="sgd", **config):
        torch.manual_seed(1)
        host = host_class(**FLAVOURS[flavour])
        return (
            make_growth(copy.deepcopy(host), OPTIMIZERS[optimizer], **config),
            make_growth(host, OPTIMIZERS[optimizer], **config),
        )

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("blueprint", ["loud", "norm-first", "dropout"])
def test_a_training_seed_leaves_the_host_bit_equal(pair, batch, flavour, optimizer, blueprint):
    plain, grown = pair(flavour, optimizer)
    for slot in ("block0", "block1"):
        germinate(grown, slot, blueprint)
        assert grown.stage(slot) is Stage.TRAINING
    assert_same(train(plain, batch), train(grown, batch))
    assert all(p.grad is not None for p in grown.slot_set.seed_parameters("block0"))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_training_seed_gets_the_full_gradient_and_moves(pair, batch, flavour):
    _, grown = pair(flavour)
    germinate(grown, blueprint="loud")
    before = [p.detach().clone() for p in grown.slot_set.seed_parameters("block0")]
    train(grown, batch)
    assert all(not torch.equal(a, b) for a, b in zip(before, grown.slot_set.seed_parameters("block0"), strict=True))


def test_the_seed_sees_the_gradient_that_the_host_sees(make_growth, host_class, batch):
    grown = germinate(make_growth(host_class()), blueprint="loud")
    outputs = {}

    def keep(name):
        def hook(module, args, output):
            output.retain_grad()
            outputs[name] = output

        return hook

    grown.slot_set.slots["block0"].seed.register_forward_hook(keep("delta"))
    grown.slot_set.model.blocks[0].register_forward_hook(keep("activation"))
    cross_entropy(grown.slot_set.model(batch[0]), batch[1]).backward()
    assert torch.equal(outputs["delta"].grad, outputs["activation"].grad)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_culled_before_blending_leaves_no_trace(pair, batch, flavour):
    plain, grown = pair(flavour)
    keys = list(grown.slot_set.model.state_dict())
    germinate(grown)
    assert list(grown.slot_set.model.state_dict()) != keys
    train(plain, batch)
    train(grown, batch)
    grown.cull("block0", 1)
    assert list(grown.slot_set.model.state_dict()) == keys
    assert len(grown.slot_set.optimizer.param_groups) == 1
    assert not grown.slot_set.model.blocks[0]._forward_hooks
    assert_same(train(plain, batch, seed=12), train(grown, batch, seed=12))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_culled_later_leaves_the_hosts_tensors_as_they_are(make_growth, host_class, batch, optimizer):
    grown = germinate(make_growth(host_class(), OPTIMIZERS[optimizer], incubation="none", ramp_epochs=1))
    grown.set_alphas(0, 0.7)
    train(grown, batch)
    before = host_tensors(grown)
    grown.cull("block0", 1)
    assert_same(before, host_tensors(grown))
    assert set(grown.slot_set.optimizer.state) <= set(grown.slot_set.host_parameters)


def stages(growth):
    """Walk one seed through every stage it can have, yielding each."""
    germinate(growth)
    yield Stage.TRAINING
    epoch = 1
    for stage in (Stage.BLENDING, Stage.PROBATIONARY):
        growth.judge(growth.evidence(epoch - 1), 0.5)
        growth.tick(epoch)
        growth.set_alphas(epoch, 1.0)
        assert growth.stage("block0") is stage
        yield stage
        epoch += 1
    growth.judge(growth.evidence(epoch - 1), 0.5)
    growth.fossilize("block0", epoch)
    yield Stage.FOSSILIZED


@pytest.mark.parametrize("isolate", [True, False])
def test_no_layer_before_a_slot_is_ever_frozen(make_growth, host_class, batch, isolate):
    growth = make_growth(host_class(), isolate=isolate, ramp_epochs=1)
    for stage in stages(growth):
        growth.slot_set.model.zero_grad()
        cross_entropy(growth.slot_set.model(batch[0]), batch[1]).backward()
        first = growth.slot_set.model.blocks[0][0].weight.grad
        assert first is not None, stage
        assert float(first.norm()) > 1e-6, stage


def test_isolated_blending_gives_the_identity_path_gradient_one(make_growth, host_class, batch):
    growth = make_growth(host_class(), isolate=True, incubation="none", ramp_epochs=2)
    germinate(growth)
    growth.set_alphas(0, 1.0)
    inputs = torch.randn(3, 8, 4, 4, requires_grad=True)
    out = growth.slot_set.slots["block0"].act(inputs)
    assert not torch.equal(out, inputs)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    assert torch.equal(inputs.grad, weights)


def test_open_blending_trains_the_host_through_the_seed(make_growth, host_class):
    growth = make_growth(host_class(), isolate=False, incubation="none", ramp_epochs=2)
    germinate(growth)
    growth.set_alphas(0, 1.0)
    slot = growth.slot_set.slots["block0"]
    inputs = torch.randn(3, 8, 4, 4, requires_grad=True, dtype=torch.float64)
    slot.double()
    assert torch.autograd.gradcheck(slot.act, (inputs,))
    expected = inputs + 0.5 * slot.seed(inputs)
    assert torch.allclose(slot.act(inputs), expected)


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("stage", [Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY])
def test_a_seed_that_turns_nan_never_reaches_the_host(make_growth, host_class, batch, stage, isolate):
    growth = make_growth(host_class(), isolate=isolate, ramp_epochs=1)
    healthy = make_growth(copy.deepcopy(growth.slot_set.model.cpu().__class__()), isolate=isolate)
    healthy.slot_set.model.load_state_dict(growth.slot_set.model.state_dict())
    germinate(growth, blueprint="poison")
    for epoch in (1, 2):
        if growth.stage("block0") is not stage:
            growth.judge(growth.evidence(epoch - 1), None)
            growth.tick(epoch)
            growth.set_alphas(epoch, 1.0)
    assert growth.stage("block0") is stage
    growth.slot_set.slots["block0"].seed.poisoned = True
    expected = healthy.slot_set.model(batch[0])
    logits = growth.slot_set.model(batch[0])
    assert torch.equal(logits, expected)
    cross_entropy(logits, batch[1]).backward()
    cross_entropy(expected, batch[1]).backward()
    for a, b in zip(growth.slot_set.host_parameters, healthy.slot_set.host_parameters, strict=True):
        assert torch.equal(a.grad, b.grad)


def test_open_blending_stops_a_gradient_that_is_not_finite(make_growth, host_class):
    growth = make_growth(host_class(), isolate=False, incubation="none", ramp_epochs=0)
    germinate(growth, blueprint="root")
    h = torch.zeros(2, 8, 4, 4, requires_grad=True)
    seed_alone = torch.autograd.grad(growth.slot_set.slots["block0"].seed(h).sum(), h)[0]
    assert not bool(seed_alone.isfinite().any())
    growth.slot_set.slots["block0"].act(h).sum().backward()
    assert torch.equal(h.grad, torch.ones_like(h))


def test_alpha_is_continuous_over_the_ramp_and_exact_at_its_ends(make_growth, host_class):
    growth = make_growth(host_class(), incubation="none", ramp_epochs=2)
    germinate(growth)
    slot = growth.slot_set.slots["block0"]
    seen = []
    for epoch in (0, 1):
        for step in range(5):
            growth.set_alphas(epoch, (step + 1) / 5)
            seen.append(float(slot.alpha))
    assert seen == pytest.approx([0.1 * k for k in range(1, 11)])
    assert seen[-1] == 1.0


def test_a_cull_by_action_is_refused_for_a_fossil(make_growth, host_class):
    growth = make_growth(host_class(), ramp_epochs=1)
    assert [*stages(growth)][-1] is Stage.FOSSILIZED
    with pytest.raises(Exception, match="FOSSILIZED -> CULLED"):
        growth.cull("block0", 9, Cause.ACTION)
