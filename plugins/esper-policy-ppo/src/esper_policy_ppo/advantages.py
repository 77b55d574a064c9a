"""Generalised advantage estimation (Schulman et al., 2016), with ends told apart."""

import torch
from torch import Tensor


def advantages(
    rewards: Tensor, values: Tensor, ends: Tensor, final_values: Tensor, *, gamma: float, gae_lambda: float
) -> Tensor:
    """Return the advantages, (T, N).

    After an end nothing flows back from the next trajectory in the column: what follows is worth `final_values`, which
    is the value of the final observation of a trajectory that was cut short, and 0 where nothing comes any more.

    Args:
        rewards: (T, N).
        values: (T, N), of what was seen before each step, in units of the reward.
        ends: (T, N) of bool, a trajectory ends after the step. The last step of each column is one.
        final_values: (T, N), read where `ends`.
        gamma: the run's discount.
        gae_lambda: bias against variance.
    """
    found = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        following = values[step + 1] if step + 1 < len(rewards) else torch.zeros_like(last)
        next_value = torch.where(ends[step], final_values[step], following)
        surprise = rewards[step] + gamma * next_value - values[step]
        last = surprise + gamma * gae_lambda * torch.where(ends[step], 0.0, last)
        found[step] = last
    return found


def normalised(advantages: Tensor, where: Tensor) -> Tensor:
    """Return advantages, (T, N), with mean 0 and variance 1 over some steps: once, before the update.

    Args:
        advantages: (T, N).
        where: (T, N) of bool, the steps with a choice; the advantages of others move nothing.
    """
    there = advantages[where]
    if not len(there):
        return torch.zeros_like(advantages)
    return (advantages - there.mean()) / (there.std(correction=0) + 1e-8)


def explained_variance(values: Tensor, returns: Tensor) -> float | None:
    """Return the share of the variance of returns, (n,), that values, (n,), explain; None where there is none."""
    variance = returns.var(correction=0)
    if float(variance) < 1e-8:
        return None
    return float(1.0 - (returns - values).var(correction=0) / variance)
