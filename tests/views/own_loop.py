"""A training loop of somebody's own that grows a network, and records it."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import mse_loss

from esper_core import grow

sys.path.append(str(Path(__file__).parents[1]))

from held import wait_behind

EPOCHS = 12
SINKS = [
    *("console", "jsonl", "sqlite", "directory", "tensorboard", "mlflow", "alerts", "elasticsearch", "otlp"),
    {"name": "prometheus", "http": False, "textfile": "metrics.prom"},
    {"name": "wandb", "module": "trackio"},
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.trunk(x))


torch.manual_seed(0)
inputs = torch.randn(1200, 8)
targets = inputs[:, :1] * inputs[:, 1:2]
training = [(inputs[i : i + 50], targets[i : i + 50]) for i in range(0, 1000, 50)]
validation = [(inputs[1000:], targets[1000:])]

model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
with grow(
    model,
    sites=["trunk"],
    optimizer=optimizer,
    epochs=EPOCHS,
    blueprints=["mlp"],
    settings={"lifecycle": {"ramp_epochs": 2}, "limits": {"max_live_seeds": 1}},
    sinks=SINKS,
    run_directory="runs/mine",
) as handle:
    for epoch in range(EPOCHS):
        total = 0.0
        for batch, wanted in training:
            loss = mse_loss(handle.model(batch), wanted)
            optimizer.zero_grad()
            loss.backward()
            handle.clip_grad_norm_(1.0)
            optimizer.step()
            total += loss.item() / len(training)
        handle.epoch_end(validation, mse_loss, train_loss=total)
        wait_behind(epoch)
