"""Search the thresholds of gates with Ray Tune: a network that grows in a loop of one's own, once for each trial.

A gate that asks for little keeps seeds that cost parameters and gain nothing; one that asks for much keeps none. Each
trial grows the same small network under other thresholds, and reports its validation loss and its size in each epoch.
"""

import logging
import os

import ray
import torch
from ray import tune
from torch import nn
from torch.nn.functional import mse_loss

from esper_core import grow

EPOCHS = 16
INPUTS = torch.randn(1200, 8, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :1] * INPUTS[:, 1:2]


class Net(nn.Module):
    """A network that is too small for products of its inputs."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.trunk(x))


def train(config, report):
    """Grow a network under the thresholds of a trial; `report` takes its figures after each epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Net()
    handle = grow(
        model,
        sites=["trunk"],
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2),
        epochs=EPOCHS,
        blueprints=["mlp"],
        gates={
            "name": "permissive",
            "G2": {"max_update_ratio": config["max_update_ratio"]},
            "G5": {"min_contribution_nats": config["min_contribution_nats"]},
        },
        settings={"lifecycle": {"ramp_epochs": 2}, "limits": {"max_growth_ratio": 20.0}},
    )
    with handle:
        for _ in range(EPOCHS):
            total = 0.0
            for rows, wanted in zip(INPUTS[:1000].split(50), TARGETS[:1000].split(50), strict=True):
                handle.optimizer.zero_grad()
                loss = mse_loss(model(rows), wanted)
                loss.backward()
                handle.optimizer.step()
                total += loss.item() / 20
            outcome = handle.epoch_end([(INPUTS[1000:], TARGETS[1000:])], mse_loss, train_loss=total)
            kept = sum(slot.stage.name == "FOSSILIZED" for slot in handle.slots)
            figures = {
                "loss": outcome.evidence.validation.loss,
                "parameters": outcome.evidence.parameters,
                "kept": kept,
            }
            report(figures)


def trial(config):
    """One trial, in an actor of Ray's."""
    train(config, tune.report)


def main(contributions=(0.0, 0.01, 10.0), storage=None):
    """Try every threshold once; return the results by threshold."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    space = {"min_contribution_nats": tune.grid_search([*contributions]), "max_update_ratio": 2.0}
    tuner = tune.Tuner(
        trial,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(verbose=0, storage_path=storage),
    )
    results = tuner.fit()
    for result in results:
        print(
            f"{result.config['min_contribution_nats']:g} nats: {result.metrics['kept']} kept, "
            f"loss {result.metrics['loss']:.3f}, {result.metrics['parameters']} parameters"
        )
    best = results.get_best_result()
    print(f"best: {best.config}")
    return {result.config["min_contribution_nats"]: result.metrics for result in results}


if __name__ == "__main__":
    main()
