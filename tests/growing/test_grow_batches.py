"""`esper_core.grow`: networks that take several tensors, or sequences of several lengths, and how training goes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_core.adapting import TrainingMeter
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision
from esper_core.leyline.protocols import Split
from esper_core.leyline.stages import Blend
from esper_core.tolaria.data import in_order, rows
from esper_growing import UserCriterion
from esper_growing.measuring.sample_loss import per_sample
from esper_growing.measuring.user_data import as_samples, read_batches

CPU = torch.device("cpu")


class Masked(nn.Module):
    """Classifies sequences by the mean of what a mask leaves, and returns a mapping."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.block, self.head = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, tokens, mask):
        h = torch.tanh(self.block(self.embed(tokens)))
        h = (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(h)}


def batch(count, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 11, (count, length), generator=generator)
    mask = (torch.arange(length) < torch.randint(1, length + 1, (count, 1), generator=generator)).float()
    return {"tokens": tokens, "mask": mask}, tokens[:, 0] % 3


def loss(outputs, targets):
    return cross_entropy(outputs["logits"], targets)


class Germinating:
    def reset(self, begun):
        self.done = False

    def decide(self, situations):
        wait, self.done = self.done, True
        return [Decision(actions=[] if wait else [Action(op=Op.GERMINATE, **CHOICE)])]


CHOICE = {"slot": "block", "blueprint": "mlp", "blend": Blend.LINEAR}


@pytest.mark.parametrize("as_tuple", [False, True], ids=["by name", "in order"])
def test_a_network_of_several_inputs_is_measured_sample_by_sample(as_tuple):
    model = Masked()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    handle = esper_core.grow(
        model, sites=["block"], optimizer=optimizer, epochs=5, policy=Germinating(), blueprints=["mlp"]
    )
    validation = [batch(9, 7, 1), batch(6, 7, 2), batch(5, 4, 3)]
    for _ in range(3):
        for number in range(3):
            inputs, targets = batch(16, 6, number)
            optimizer.zero_grad()
            loss(model(**inputs), targets).backward()
            optimizer.step()
        given = [(tuple(inputs.values()) if as_tuple else inputs, targets) for inputs, targets in validation]
        outcome = handle.epoch_end(given, loss, train_accuracy=0.5)
    handle.growth.set_alphas(handle.epoch, 0.0)  # as they were at the end of the epoch: the next one has begun
    with torch.no_grad():
        model.eval()
        expected = torch.cat([cross_entropy(model(**x)["logits"], y, reduction="none") for x, y in validation])
    assert outcome.evidence.validation.samples == 20
    assert torch.allclose(torch.tensor(outcome.evidence.validation.sample_losses), expected, atol=1e-6)
    (seed,) = outcome.evidence.seeds
    assert (seed.probe or seed.contribution).count == 20


def test_neighbours_of_one_shape_become_one_batch():
    pairs = [batch(3, 5, 1), batch(4, 5, 2), batch(2, 8, 3), batch(1, 5, 4)]
    samples = as_samples(pairs, CPU)
    assert [rows(inputs) for inputs, _ in samples.batches] == [7, 2, 1]
    assert torch.equal(samples.batches[0][0]["tokens"], torch.cat([pairs[0][0]["tokens"], pairs[1][0]["tokens"]]))
    assert [len(targets) for _, targets in in_order(samples, 4)] == [4, 3, 2, 1]


def test_a_split_is_taken_as_it_is():
    split = Split(inputs=torch.randn(5, 2), targets=torch.arange(5))
    (found,) = as_samples(read_batches(split), CPU).batches
    assert torch.equal(found[0], split.inputs)


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([], "no batch"),
        ([torch.zeros(3)], "not a pair"),
        ([{"inputs": torch.zeros(3)}], "not a pair"),
        ([(torch.zeros(3), "labels")], "not a pair"),
        ([({}, torch.zeros(3))], "not a pair"),
    ],
)
def test_data_that_cannot_be_measured_on_is_refused(batches, why):
    with pytest.raises(EsperError) as caught:
        read_batches(batches)
    assert caught.value.code == "E302"
    assert why in caught.value.why


def test_a_mean_loss_of_a_mapping_becomes_one_value_per_sample():
    outputs, targets = {"logits": torch.randn(6, 3)}, torch.randint(0, 3, (6,))
    expected = cross_entropy(outputs["logits"], targets, reduction="none")
    assert torch.allclose(per_sample(loss)(outputs, targets), expected)


class Flattening(nn.Module):
    reduction = "mean"

    def forward(self, outputs, targets):
        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction=self.reduction)


@pytest.mark.parametrize(
    "flattening",
    [
        lambda outputs, targets, reduction="mean": cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), reduction=reduction
        ),
        lambda outputs, targets: cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none"),
        Flattening(),
    ],
    ids=["takes a reduction", "reduces nothing", "module"],
)
def test_positions_of_a_loss_that_flattens_the_batch_are_no_samples(flattening):
    outputs, targets = torch.randn(4, 5, 3), torch.randint(0, 3, (4, 5))
    expected = cross_entropy(outputs.mT, targets, reduction="none").mean(1)
    assert torch.allclose(per_sample(flattening)(outputs, targets), expected)


def test_training_is_metered_batch_by_batch():
    meter = TrainingMeter(UserCriterion(loss=cross_entropy))
    assert meter.read() == (None, None)
    outputs = torch.randn(10, 3, requires_grad=True)
    targets = torch.randint(0, 3, (10,))
    meter.add(outputs[:7], targets[:7])
    meter.add(outputs[7:], targets[7:])
    mean, accuracy = meter.read()
    assert mean == pytest.approx(float(cross_entropy(outputs.detach(), targets)), rel=1e-6)
    assert accuracy == pytest.approx(float((outputs.argmax(-1) == targets).float().mean()))
    assert meter.read() == (None, None)


def test_an_accuracy_that_is_not_known_is_none():
    meter = TrainingMeter(UserCriterion(loss=lambda outputs, targets: ((outputs - targets) ** 2).mean(-1)))
    meter.add(torch.ones(4, 2), torch.zeros(4, 2))
    assert meter.read() == (1.0, None)
