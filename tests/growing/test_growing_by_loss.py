"""`grow` where there is no accuracy: several labels at once, mappings for outputs, losses over pairs."""

from math import isnan

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss, normalize

import esper_core
from esper_core.leyline.stages import Stage

EPOCHS, STEPS, BATCH = 8, 6, 32


class Net(nn.Module):
    """Six numbers in, `outputs` numbers out, in a mapping if `name` is given."""

    def __init__(self, outputs, name=None):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Linear(8, outputs)
        self.name = name

    def forward(self, x):
        found = self.head(self.body(x))
        return found if self.name is None else {self.name: found}


def inputs_of(count, seed):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def labels(inputs):
    return (inputs[:, :3] * inputs[:, 3:] > 0).float()


def products(inputs):
    return inputs[:, :2] * inputs[:, 2:4]


def others(inputs):
    """For each sample another view of it, with which its output is to agree more than with the others'."""
    return torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2], inputs[:, 3], inputs[:, 4]], dim=1)


def contrast(outputs, views):
    """InfoNCE: the loss of each sample, which the other samples of the batch take part in."""
    scores = normalize(outputs, dim=1) @ normalize(views, dim=1).T / 0.2
    return cross_entropy(scores, torch.arange(len(scores)), reduction="none")


def named(outputs, targets):
    return mse_loss(outputs["y"], targets)


@pytest.mark.parametrize(
    ("net", "loss", "targets_of"),
    [
        (lambda: Net(3), binary_cross_entropy_with_logits, labels),
        (lambda: Net(2, "y"), named, products),
        (lambda: Net(4), contrast, others),
    ],
    ids=["several labels", "a mapping", "pairs"],
)
def test_it_grows_by_its_loss(net, loss, targets_of):
    torch.manual_seed(0)
    model = net()
    handle = esper_core.grow(
        model,
        sites="body",
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.02),
        epochs=EPOCHS,
        blueprints=["mlp"],
        policy={"name": "heuristic", "fit_accuracy": 1.0, "max_accuracy_gap": 1.0},
        gates="permissive",
        settings={"lifecycle": {"ramp_epochs": 1}},
    )
    held_out = [(each, targets_of(each)) for each in inputs_of(4 * BATCH, 1).split(BATCH)]
    outcomes = []
    for epoch in range(EPOCHS):
        losses = []
        for inputs in inputs_of(STEPS * BATCH, 10 + epoch).split(BATCH):
            value = loss(handle.model(inputs), targets_of(inputs)).mean()
            handle.optimizer.zero_grad()
            value.backward()
            handle.clip_grad_norm_(1.0)
            handle.optimizer.step()
            losses.append(value.item())
        outcomes.append(handle.epoch_end(held_out, loss, train_loss=sum(losses) / len(losses)))
    reached = {stage for report in handle.reports for stage in report.epochs_by_stage}
    assert {"TRAINING", "BLENDING", "PROBATIONARY"} <= reached
    assert outcomes[-1].evidence.validation.loss < outcomes[0].evidence.validation.loss
    assert all(isnan(it.evidence.validation.accuracy) for it in outcomes)
    assert all(report.accuracy_at_end is None for report in handle.reports)
    assert handle.finish().seeds[0].final_stage is Stage.FOSSILIZED
