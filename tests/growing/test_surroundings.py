"""What stands around a network that grows and does not follow it says so where it matters."""

import copy
import pickle
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel

import esper_core
from esper_core.api import WAIT, Action, Blend, Decision, Op

INPUTS = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(1))


class Always:
    def __init__(self, blueprint):
        self.blueprint = blueprint

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._one(situation.masks)]) for situation in situations]

    def _one(self, mask):
        free = [slot for slot in mask.slots if self.blueprint in mask.blueprints_for(slot)]
        return Action(op=Op.GERMINATE, slot=free[0], blueprint=self.blueprint, blend=Blend.LINEAR) if free else WAIT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x))))

    def save_pretrained(self):
        """As transformers does it: through its own `state_dict`."""
        return copied(self)


class Other(Net):
    pass


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


class Decoder(Net):
    """Of sequences of tokens, with a cache that it says that it uses."""

    def __init__(self, *, cached=True):
        super().__init__()
        self.embedding, self.config = nn.Embedding(9, 6), SimpleNamespace(use_cache=cached)

    def forward(self, x):
        return super().forward(self.embedding(x))[:, -1]


@pytest.mark.parametrize(
    ("blueprint", "cached", "times"), [("attention", True, 1), ("mlp", True, 0), ("attention", False, 0)]
)
def test_a_seed_that_a_cache_would_blind_is_told_of(blueprint, cached, times):
    model, tokens = Decoder(cached=cached), torch.randint(0, 9, (16, 5), generator=torch.Generator().manual_seed(2))
    handle = begin(model, blueprint, sample=tokens)

    def do():
        for _ in range(3):
            handle.optimizer.zero_grad()
            cross_entropy(model(tokens), LABELS).backward()
            handle.optimizer.step()
            handle.epoch_end([(tokens, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)

    assert said(do, "generate(use_cache=False)") == times
    assert [report.blueprint for report in handle.reports] == [blueprint]


def begin(model, blueprint="mlp", sample=INPUTS):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return esper_core.grow(model, sites=["b"], optimizer=optimizer, epochs=9, sample=sample, policy=Always(blueprint))


def train(handle, epochs=2):
    for _ in range(epochs):
        handle.optimizer.zero_grad()
        cross_entropy(handle.model(INPUTS), LABELS).backward()
        handle.optimizer.step()
        handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)


def said(do, word):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        do()
    return sum(word in str(one.message) for one in caught)


@pytest.mark.parametrize("when", ["before grow", "before the first batch"])
def test_an_average_that_does_not_grow_with_the_network_is_told_of_once(when):
    model = Net()
    average = AveragedModel(model) if when == "before grow" else None
    handle = begin(model)
    average = average or AveragedModel(model)
    assert said(lambda: train(handle, 4), "AveragedModel") == 1
    assert average.n_averaged == 0


def test_averages_of_others_and_of_what_has_grown_are_not_told_of():
    handle = begin(Net())
    other = AveragedModel(Other())
    assert said(lambda: train(handle, 3), "AveragedModel") == 0
    average = AveragedModel(handle.model)
    assert said(lambda: train(handle, 1), "AveragedModel") == 0
    average.update_parameters(handle.model)
    assert {*dict(average.module.named_parameters())} - {*dict(other.module.named_parameters())}


def test_who_saves_for_from_pretrained_is_told_when_it_is_saved():
    handle = begin(Net())
    assert said(handle.model.save_pretrained, "from_pretrained") == 0
    train(handle)
    assert said(handle.model.save_pretrained, "from_pretrained") == 1
    assert said(lambda: copied(handle.model), "from_pretrained") == 0
    again = pickle.loads(pickle.dumps(handle.model))
    assert said(again.save_pretrained, "from_pretrained") == 1
    assert said(copy.deepcopy(handle.model).save_pretrained, "from_pretrained") == 1
    plain = handle.export(live="remove")
    assert said(plain.save_pretrained, "from_pretrained") == 0
