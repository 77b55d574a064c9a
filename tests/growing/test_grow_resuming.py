"""`esper_core.grow`: what is saved with a handle, and going on from it."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset

import esper_core
from esper_core.adapting import DeferredWeights
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision, PolicyState
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import Blend, Stage
from esper_core.tamiyo.policy import Policy

EPOCHS, STEPS, CLIP = 12, 5, 0.05


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Counting:
    """Germinates every third time that it is asked: what it does depends on what it remembers."""

    def __init__(self):
        self.asked = 0

    def reset(self, begun):
        self.asked = 0

    def decide(self, situations):
        self.asked += 1
        (situation,) = situations
        mask = situation.masks
        free = [slot for slot in mask.slots if "mlp" in mask.blueprints_for(slot)]
        if self.asked % 3 or not free:
            return [Decision()]
        action = Action(op=Op.GERMINATE, slot=free[0], blueprint="mlp", blend=Blend.LINEAR)
        return [Decision(actions=[action])]

    def state(self):
        return PolicyState(tensors={"asked": torch.tensor(self.asked)})

    def restore(self, state):
        self.asked = int(state.tensors["asked"])


def counting():
    return Policy(actor=Counting(), capabilities={"stateful"})


def data(epoch, samples=STEPS * 16):
    generator = torch.Generator().manual_seed(epoch)
    inputs = torch.randn(samples, 6, generator=generator)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def make(policy="heuristic", sites=("first", "second"), **options):
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    options = {"blueprints": ["mlp"], "gates": "permissive", "settings": {"lifecycle": {"ramp_epochs": 2}}} | options
    return esper_core.grow(model, sites=sites, optimizer=optimizer, epochs=EPOCHS, policy=policy, **options)


def steps(handle, epoch, begin=0, end=STEPS, clip=None):
    """Train from one step of an epoch to another, and return the accuracy."""
    inputs, targets = data(epoch)
    right = 0
    for step in range(begin, end):
        x, y = inputs[16 * step :][:16], targets[16 * step :][:16]
        outputs = handle.model(x)
        handle.optimizer.zero_grad()
        cross_entropy(outputs, y).backward()
        if clip is not None:
            clip(CLIP)
        handle.optimizer.step()
        right += int((outputs.argmax(-1) == y).sum())
    return right / (16 * (end - begin))


def epochs(handle, count):
    for _ in range(count):
        accuracy = steps(handle, handle.epoch)
        handle.epoch_end([data(99, 40)], cross_entropy, train_accuracy=min(accuracy, 0.6), train_loss=0.6)


def save(handle):
    return copy.deepcopy((handle.state_dict(), handle.model.state_dict(), handle.optimizer.state_dict()))


def load(handle, saved):
    handle.load_state_dict(saved[0])
    handle.model.load_state_dict(saved[1])
    handle.optimizer.load_state_dict(saved[2])


def timeless(state):
    """A saved state without the durations in it."""
    return re.sub(r'"(train_|measure_)?seconds": [^,}]+', "", to_json(state))


def assert_same(one, other):
    assert timeless(one.state_dict()) == timeless(other.state_dict())
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


@pytest.mark.parametrize("policy", ["heuristic", counting], ids=["history", "memory"])
def test_a_policy_goes_on_as_if_it_had_not_been_interrupted(policy):
    whole, resumed = (make(policy if policy == "heuristic" else policy()) for _ in range(2))
    epochs(whole, 5)
    assert any(slot.stage.live for slot in whole.slots)
    load(resumed, save(whole))
    for handle in (whole, resumed):
        epochs(handle, EPOCHS - 5)
    assert len(whole.reports) > 0
    assert_same(whole, resumed)


def test_an_epoch_that_was_interrupted_goes_on_in_the_middle():
    whole, resumed = make(counting()), make(counting())
    epochs(whole, 5)
    while {slot.stage for slot in whole.slots}.isdisjoint({Stage.BLENDING}):
        epochs(whole, 1)
    steps(whole, whole.epoch, end=2)
    load(resumed, save(whole))
    for handle in (whole, resumed):
        assert steps(handle, handle.epoch, begin=2) > 0
    assert [slot.alpha for slot in whole.slots] == [slot.alpha for slot in resumed.slots]
    assert_same(whole, resumed)


def test_what_was_saved_from_other_sites_is_refused():
    whole = make(counting())
    epochs(whole, 4)
    with pytest.raises(EsperError, match="other sites than were asked for") as caught:
        load(make(counting(), sites=["second"]), save(whole))
    assert caught.value.code == "E502"


def test_a_policy_with_a_memory_is_not_begun_from_the_state_of_one_without():
    whole, other = make("heuristic"), make(counting())
    epochs(whole, 2)
    with pytest.raises(EsperError, match="another policy's") as caught:
        load(other, save(whole))
    assert caught.value.code == "E502"


def test_weights_that_come_before_the_seeds_are_kept_for_them():
    whole, late = make(counting()), make(counting())
    epochs(whole, 5)
    record, weights, optimizer = save(whole)
    assert any(name.startswith("esper.") for name in weights)
    seeds = DeferredWeights(late.model)
    late.model.load_state_dict(weights, strict=True)
    late.load_state_dict(record)
    seeds.give(late.model)
    late.optimizer.load_state_dict(optimizer)
    assert_same(whole, late)
    late.model.load_state_dict(weights, strict=True)  # nothing is taken out any more


@pytest.mark.parametrize("missing", ["bias", ""], ids=["some", "all"])
def test_weights_of_other_seeds_are_refused(missing):
    whole, late = make(counting()), make(counting())
    epochs(whole, 5)
    record, weights, _ = save(whole)
    seeds = DeferredWeights(late.model)
    left = {name: w for name, w in weights.items() if not (name.startswith("esper.") and name.endswith(missing))}
    late.model.load_state_dict(left, strict=False)
    late.load_state_dict(record)
    with pytest.raises(EsperError, match="do not fit the seeds") as caught:
        seeds.give(late.model)
    assert caught.value.code == "E502"


def test_a_copy_of_a_network_keeps_no_weights_for_the_original():
    whole = make(counting())
    epochs(whole, 5)
    network = Net()
    seeds = DeferredWeights(network)
    unexpected = copy.deepcopy(network).load_state_dict(whole.model.state_dict(), strict=False).unexpected_keys
    assert unexpected == [name for name in whole.model.state_dict() if name.startswith("esper.")]
    seeds.close()


def test_a_first_batch_in_inference_mode_confirms_no_site():
    handle = make(counting())
    with torch.inference_mode():
        handle.model(data(0)[0])
    with pytest.raises(EsperError, match="not confirmed yet"):
        _ = handle.slots
    handle.model(data(0)[0])
    assert [slot.id for slot in handle.growth.sites] == ["first", "second"]


def test_a_copy_from_before_the_first_batch_does_not_begin_the_growth_of_the_original_anew():
    handle = make(counting())
    average = copy.deepcopy(handle.model)
    average(data(0)[0])
    assert not handle.begun
    epochs(handle, 4)
    before = handle.growth
    average(data(0)[0])
    assert handle.growth is before
    assert [slot.stage for slot in handle.slots] == [Stage.BLENDING, Stage.DORMANT]


def test_a_closed_handle_confirms_no_site():
    handle = make(counting())
    handle.close()
    handle.model(data(0)[0])
    with pytest.raises(EsperError, match="not confirmed yet"):
        _ = handle.slots


def test_a_host_with_seeds_in_training_is_the_host_without_them_clipping_included():
    grown = make(counting(), settings={"lifecycle": {"incubation_epochs": 20, "training_timeout_epochs": 30}})
    alone, optimizer = (plain := Net()), torch.optim.AdamW(plain.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(*data(99, 40)), batch_size=20)
    torch.manual_seed(1)
    for epoch in range(6):
        steps(grown, epoch, clip=grown.clip_grad_norm_)
        grown.epoch_end(loader, cross_entropy, train_accuracy=0.5)
    drawn = torch.rand(())
    assert all(slot.stage is Stage.TRAINING for slot in grown.slots)
    torch.manual_seed(1)
    for epoch in range(6):
        for step in range(STEPS):
            x, y = (part[16 * step :][:16] for part in data(epoch))
            optimizer.zero_grad()
            cross_entropy(alone(x), y).backward()
            clip_grad_norm_(alone.parameters(), CLIP)
            optimizer.step()
    assert drawn == torch.rand(())
    for name, weight in alone.state_dict().items():
        assert torch.equal(weight, grown.model.state_dict()[name]), name


def test_gradients_that_a_closure_makes_are_looked_at_behind_it():
    handles = make(counting()), make(counting())
    for handle in handles:
        epochs(handle, 2)
        assert handle.slots[0].stage is Stage.TRAINING
    for handle, closed in zip(handles, (False, True), strict=True):
        inputs, targets = (part[:16] for part in data(2))

        def closure(handle=handle, inputs=inputs, targets=targets):
            handle.optimizer.zero_grad()
            loss = cross_entropy(handle.model(inputs), targets)
            loss.backward()
            return loss

        if closed:
            assert handle.optimizer.step(closure) > 0
        else:
            closure()
            handle.optimizer.step()
    one, other = (handle.epoch_end([data(99, 40)], cross_entropy, train_accuracy=0.5) for handle in handles)
    assert one.evidence.seeds[0].gradient_ratio is not None
    assert one.evidence.seeds[0].gradient_ratio == other.evidence.seeds[0].gradient_ratio
