"""Generalised advantage estimation (Schulman et al., 2016) and V-trace, with ends told apart."""

import torch
from attrs import frozen
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


@frozen(eq=False, kw_only=True)
class VTrace:
    """What V-trace makes of steps that another policy took, (T, N) each.

    Attributes:
        values: what the values should be, in units of the reward.
        advantages: of the actions, for the policy's gradient.
    """

    values: Tensor
    advantages: Tensor


def v_trace(
    rewards: Tensor,
    values: Tensor,
    ends: Tensor,
    final_values: Tensor,
    log_ratios: Tensor,
    *,
    gamma: float,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
) -> VTrace:
    """Correct for a policy that has moved since it acted (Espeholt et al., 2018, "IMPALA", equation 1).

    Ends are told apart as by `advantages`: a trajectory that was cut short goes on with the value of its final
    observation, never with the next trajectory in the column. With ratios of 1 the values are the returns that
    `advantages` with a `gae_lambda` of 1 leads to.

    Args:
        rewards: (T, N).
        values: (T, N), of what was seen before each step, in units of the reward.
        ends: (T, N) of bool, a trajectory ends after the step. The last step of each column is one.
        final_values: (T, N), read where `ends`.
        log_ratios: (T, N), log of the probability of each action now over that when it was taken.
        gamma: the run's discount.
        clip_rho: ratios count this much at most for what a step itself says; it decides which policy is valued.
        clip_c: ratios count this much at most for how far later steps reach back.
    """
    rho, c = log_ratios.exp().clamp(max=clip_rho), log_ratios.exp().clamp(max=clip_c)
    corrected, gains = torch.zeros_like(values), torch.zeros_like(values)
    beyond = torch.zeros_like(rewards[0])  # how far the corrected value of the next step is from its value
    for step in reversed(range(len(rewards))):
        following = values[step + 1] if step + 1 < len(rewards) else beyond
        next_value = torch.where(ends[step], final_values[step], following)
        beyond = torch.where(ends[step], 0.0, beyond)
        gains[step] = rho[step] * (rewards[step] + gamma * (next_value + beyond) - values[step])
        surprise = rho[step] * (rewards[step] + gamma * next_value - values[step])
        beyond = surprise + gamma * c[step] * beyond
        corrected[step] = values[step] + beyond
    return VTrace(values=corrected, advantages=gains)


def normalised(advantages: Tensor, where: Tensor, least: float = 0.0) -> Tensor:
    """Return advantages, (T, N), with mean 0 and variance 1 over some steps: once, before the update.

    Args:
        advantages: (T, N).
        where: (T, N) of bool, the steps with a choice; the advantages of others move nothing.
        least: they are divided by no less than this, so that their variance may be smaller than 1.
    """
    there = advantages[where]
    if not len(there):
        return torch.zeros_like(advantages)
    return (advantages - there.mean()) / (there.std(correction=0).clamp(min=least) + 1e-8)


def compared_by_head(advantages: Tensor, ops: Tensor, where: Tensor) -> Tensor:
    """Return what each head is judged by, (T, N, 4).

    The operation is judged by the advantage. The heads after it choose when the operation is fixed, so they are judged
    by how much better the step was than the mean of the steps with that operation: a baseline may depend on what was
    chosen before (Wu et al., 2018, "Variance reduction for policy gradient with action-dependent factorized
    baselines"). Otherwise a blueprint that is better than others is made less probable wherever germinating has cost
    more than waiting so far. An operation of a single step is compared with nothing.

    Args:
        advantages: (T, N).
        ops: (T, N) of int64, the operation of each step.
        where: (T, N) of bool, the steps that count.
    """
    compared = advantages.clone()
    for op in set(ops[where].tolist()):
        alike = where & (ops == op)
        if int(alike.sum()) > 1:
            compared[alike] -= advantages[alike].mean()
    return torch.stack([advantages, compared, compared, compared], dim=-1)


def explained_variance(values: Tensor, returns: Tensor) -> float | None:
    """Return the share of the variance of returns, (n,), that values, (n,), explain; None where there is none."""
    variance = returns.var(correction=0)
    if float(variance) < 1e-8:
        return None
    return float(1.0 - (returns - values).var(correction=0) / variance)
