"""A handle takes a saved state whole or not at all, whatever is in it."""

import copy
import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import to_json

_spec = importlib.util.spec_from_file_location("mutations", Path(__file__).with_name("mutations.py"))
mutations = sys.modules.setdefault("mutations", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(mutations)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.relu(self.first(x)))


def make():
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    settings = {"lifecycle": {"ramp_epochs": 2}}
    return esper_core.grow(
        model,
        sites=["first"],
        optimizer=optimizer,
        epochs=12,
        blueprints=["mlp"],
        gates="permissive",
        settings=settings,
    )


def train(handle, epochs):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 6, generator=generator)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    for _ in range(epochs):
        for batch in range(0, 64, 16):
            handle.optimizer.zero_grad()
            loss = cross_entropy(handle.model(inputs[batch:][:16]), targets[batch:][:16])
            loss.backward()
            handle.optimizer.step()
        handle.epoch_end([(inputs, targets)], cross_entropy, train_loss=0.6, train_accuracy=0.6)


@pytest.fixture(scope="module")
def saved():
    """The state of a training with a live seed, as JSON."""
    handle = make()
    train(handle, 6)
    assert handle.growth.slot_set.slots
    return to_json(handle.state_dict())


def tensors(handle):
    return copy.deepcopy((handle.model.state_dict(), handle.optimizer.state_dict()))


def is_equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


def refusal(handle, state):
    """Return what a handle raises for a state; None if it takes it."""
    try:
        handle.load_state_dict(state)
    except Exception as error:
        return error
    return None


def damage(saved, number):
    chance = random.Random(f"growth {number}")
    state, what = mutations.mutate_value(chance, json.loads(saved), Path("/nowhere"))
    return json.loads(mutations.as_json(state, depth=500, digits=4_000)), what


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_a_fresh_handle_is_as_it_was(saved, first):
    for number in range(first, first + 20):
        handle, (state, what) = make(), damage(saved, number)
        before = tensors(handle)
        if (error := refusal(handle, state)) is not None:
            assert isinstance(error, EsperError), (number, what, error)
            assert error.code == "E502", (number, what)
            assert not handle.begun, (number, what)
            assert is_equal(tensors(handle), before), (number, what)
            handle.load_state_dict(json.loads(saved))
            assert handle.growth.slot_set.slots, (number, what)


def test_a_handle_in_training_is_as_it_was(saved):
    handle = make()
    train(handle, 6)
    record, before = to_json(handle.state_dict()), tensors(handle)
    for number in range(20):
        state, what = damage(saved, number)
        state = json.loads(saved) | {"host": state.get("host") if isinstance(state, dict) else state}
        state["in_epoch"], state["next_event"] = True, 0
        del state["rollout"]["loop"]["record"]["curves"]  # so that every one of them is damaged
        with pytest.raises(EsperError, match="damaged"):
            handle.load_state_dict(state)
        now = json.loads(to_json(handle.state_dict()))
        expected = json.loads(record)
        assert now["host"]["growth"] == expected["host"]["growth"], (number, what)
        assert is_equal(tensors(handle), before), (number, what)
    train(handle, 1)


@pytest.mark.parametrize("version", [0, 2, None, "1", [1]])
def test_a_state_of_another_version_is_refused(saved, version):
    with pytest.raises(EsperError, match="another version") as caught:
        make().load_state_dict(json.loads(saved) | {"version": version})
    assert caught.value.code == "E502"
