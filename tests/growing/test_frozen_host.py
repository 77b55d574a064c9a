"""`grow` on a network all of whose parameters are frozen: seeds are all that is trained."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_core.leyline.stages import Stage

EPOCHS, STEPS = 10, 8
SETTINGS = {"lifecycle": {"ramp_epochs": 1}, "random_guess_loss": 0.6931}
POLICY = {"name": "heuristic", "fit_accuracy": 1.0, "max_accuracy_gap": 1.0}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.body(x))


def data(count, seed):
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def frozen():
    torch.manual_seed(0)
    return Net().requires_grad_(False)


def empty(model):
    return torch.optim.AdamW([{"params": []}], lr=0.02)


def of_the_model(model):
    return torch.optim.AdamW(model.parameters(), lr=0.02)


def begin(model, make, **changes):
    arguments = {"policy": POLICY, "blueprints": ["mlp"], "settings": SETTINGS, **changes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return esper_core.grow(
            model, sites="body", optimizer=make(model), epochs=EPOCHS, sample=data(4, 2)[0], **arguments
        )


def train(handle, epochs):
    inputs, targets = data(STEPS * 32, 0)
    outcomes = []
    for _ in range(epochs):
        handle.model.train()
        losses = []
        for batch, asked in zip(inputs.split(32), targets.split(32), strict=True):
            loss = cross_entropy(handle.model(batch), asked)
            handle.optimizer.zero_grad()
            if loss.requires_grad:
                loss.backward()
                handle.clip_grad_norm_(1.0)
            handle.optimizer.step()
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)
        outcomes.append(handle.epoch_end([data(200, 1)], cross_entropy, train_loss=train_loss))
    return outcomes


@pytest.mark.parametrize("make", [empty, of_the_model])
def test_a_seed_passes_all_gates_and_the_host_stays_as_it_was(make):
    model = frozen()
    before = copy.deepcopy(model.state_dict())
    handle = begin(model, make)
    outcomes = train(handle, EPOCHS)
    assert [slot.stage for slot in handle.slots] == [Stage.FOSSILIZED]
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in before.items())
    assert outcomes[-1].evidence.validation.loss < outcomes[0].evidence.validation.loss - 0.05
    trained = [seed for it in outcomes for seed in it.evidence.seeds if seed.stage is Stage.TRAINING]
    assert trained
    assert all(seed.host_frozen and seed.gradient_ratio is None and seed.gradient_norm > 0.0 for seed in trained)


def test_what_is_partly_frozen_is_compared_with_what_is_trained():
    model = frozen()
    model.head.requires_grad_(True)
    outcomes = train(begin(model, lambda it: torch.optim.AdamW(it.head.parameters(), lr=0.02)), 4)
    trained = [seed for it in outcomes for seed in it.evidence.seeds if seed.stage is Stage.TRAINING]
    assert trained
    assert not any(seed.host_frozen or seed.gradient_ratio is None for seed in trained)


def test_it_goes_on_from_a_saved_state_bit_by_bit():
    whole = begin(frozen(), empty)
    train(whole, 3)
    saved = copy.deepcopy((whole.state_dict(), whole.model.state_dict(), whole.optimizer.state_dict()))
    train(whole, 3)
    resumed = begin(frozen(), empty)
    resumed.load_state_dict(saved[0])
    resumed.model.load_state_dict(saved[1])
    resumed.optimizer.load_state_dict(saved[2])
    train(resumed, 3)
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert list(ours) == list(theirs)
    assert any(name.startswith("esper") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_is_said_once_that_there_is_nothing_to_learn_before_the_first_seed():
    model = frozen()
    with pytest.warns(UserWarning, match="if loss.requires_grad") as told:
        esper_core.grow(model, sites="body", optimizer=empty(model), epochs=2, sample=data(4, 2)[0])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Net()
        esper_core.grow(model, sites="body", optimizer=of_the_model(model), epochs=2, sample=data(4, 2)[0])
