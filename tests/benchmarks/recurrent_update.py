"""What it is worth to run the LSTM over whole sequences: the update of `ppo` in one call against one call an epoch.

Both compute the same log-probabilities and values of T epochs of B hosts with three slots, and their gradients. They
take turns in one process and one thread; shown is CPU time, the medians of the rounds.

    python tests/benchmarks/recurrent_update.py [--rounds 15] [--epochs 40] [--hosts 16]
"""

import argparse
from statistics import median
from time import process_time
from typing import Any

import torch
from attrs import fields
from torch import Tensor

from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import Encoder, Inputs
from esper_policy_ppo.network import Network, build_network
from esper_testing.situations import CATALOGUE, situations

SLOTS = 3


def inputs_of(epochs: int, hosts: int) -> Inputs:
    """Made-up inputs, (T, B, ...): hosts with three slots."""
    encoder = Encoder(CATALOGUE)
    rows = [
        encoder.inputs([situations(CATALOGUE, SLOTS, epoch, epochs, seed)[-1] for seed in range(hosts)])
        for epoch in range(epochs)
    ]
    return Inputs(**{it.name: torch.stack([getattr(row, it.name) for row in rows]) for it in fields(Inputs)})


def judged(network: Network, inputs: Inputs, hidden: Any) -> tuple[Tensor, Any]:
    """A number that needs everything that the update computes, and the hidden state after it."""
    features, encodings, hidden = network(inputs, hidden)
    found = network.judge(features, encodings, inputs, lambda head, log_probs: log_probs.argmax(-1))
    return found.log_probs.sum() + found.values.sum(), hidden


def in_one_call(network: Network, inputs: Inputs) -> Tensor:
    return judged(network, inputs, network.start(inputs.host.shape[1]))[0]


def epoch_by_epoch(network: Network, inputs: Inputs) -> Tensor:
    hidden, total = network.start(inputs.host.shape[1]), torch.zeros(())
    for epoch in range(len(inputs.host)):
        value, hidden = judged(network, inputs.map(lambda it, epoch=epoch: it[epoch][None]), hidden)
        total = total + value
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 15), ("epochs", 40), ("hosts", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    inputs = inputs_of(options.epochs, options.hosts)
    network = build_network(Encoder(CATALOGUE).features, len(CATALOGUE), PPOConfig())
    ways = {"one call": in_one_call, "epoch by epoch": epoch_by_epoch}
    values = {name: float(way(network, inputs).detach()) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            began = process_time()
            way(network, inputs).backward()
            seconds[name].append(process_time() - began)
            network.zero_grad()
    for name, times in seconds.items():
        print(f"{name:<15} {1e3 * median(times):8.1f} ms   (sum of what it computes: {values[name]:.4f})")
    times = median(seconds["epoch by epoch"]) / median(seconds["one call"])
    print(f"T={options.epochs}, B={options.hosts}: {times:.1f} times")


if __name__ == "__main__":
    main()
