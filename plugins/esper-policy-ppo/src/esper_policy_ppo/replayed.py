"""Learning from steps that other versions of a policy decided, with V-trace (Espeholt et al., 2018, "IMPALA")."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from esper_core.api import EsperError, Trajectory, derive_seed
from esper_policy_ppo.advantages import compared_by_head, normalised, v_trace
from esper_policy_ppo.network import Judged
from esper_policy_ppo.rollout_buffer import Minibatch, RolloutBuffer
from esper_policy_ppo.update import (
    Targets,
    UpdateCount,
    evaluate,
    joint_log_ratio,
    mean_by_head,
    mean_entropies,
    optimizer_step,
)

if TYPE_CHECKING:
    from esper_policy_ppo.policy import PPO

#: No trajectory has the priority 0: it would never be drawn again.
_LEAST_PRIORITY = 1e-3


@frozen(eq=False, kw_only=True)
class Corrected:
    """What V-trace makes of a buffer.

    Attributes:
        targets: what an update pulls at.
        surprise: (T, N), the size of the advantages, in units of the reward; 0 where there is no step.
        log_ratios: (T, N), of the probability of each action now over that when it was taken.
    """

    targets: Targets
    surprise: Tensor
    log_ratios: Tensor


def learn_replayed(
    policy: "PPO", trajectories: Sequence[Trajectory], weights: Sequence[float]
) -> tuple[dict[str, float], list[float]]:
    """Let a policy learn from trajectories of other versions of it, in one pass; see `PPO.learn_replayed`."""
    config, network = policy.config, policy.network
    if len(weights) != len(trajectories) or len({it.host for it in trajectories}) < len(trajectories):
        what = "replayed trajectories need a weight each, and hosts of different names"
        raise EsperError("E502", what, fix="give each trajectory the name of a host of its own")
    buffer = RolloutBuffer.of(trajectories, policy.encoder, config.hidden)
    policy.value_what_was_cut_short(buffer, trajectories)
    corrected = _corrected(policy, buffer)
    weight = torch.tensor(weights, dtype=torch.float32)
    order = torch.Generator().manual_seed(derive_seed(config.seed, "replayed", policy.updates))
    spans, count = buffer.sequences(config.chunk_epochs), UpdateCount()
    for part in torch.randperm(len(spans), generator=order).tensor_split(min(config.minibatches, len(spans))):
        batch = Minibatch.of(buffer, [spans[index] for index in part.tolist()])
        judged = evaluate(network, buffer, batch)
        losses = {
            "policy loss": _policy_loss(judged, batch, corrected.targets, weight),
            "value loss": _value_loss(judged, batch, corrected.targets, weight),
            "entropy": mean_entropies(judged, batch.valid).mean(),
        }
        loss = losses["policy loss"] + config.value_coefficient * losses["value loss"]
        loss = loss - config.entropy_weight(policy.learned_rounds) * losses["entropy"]
        optimizer_step(network, policy.optimizer, loss, losses, config.max_gradient_norm, count)
    moved = corrected.log_ratios[buffer.valid].exp()
    figures = {
        **count.mean_losses(),
        "steps": float(buffer.steps),
        "optimizer steps": float(count.steps),
        "skipped minibatches": float(count.skipped),
        "truncated share": float((moved > 1.0).float().mean()),
        "mean ratio": float(moved.clamp(max=1.0).mean()),
    }
    lengths = buffer.valid.sum(0).clamp(min=1)
    priorities = (corrected.surprise.sum(0) / lengths).clamp(min=_LEAST_PRIORITY)
    return {f"replayed {name}": value for name, value in figures.items()}, priorities.tolist()


@torch.no_grad()
def _corrected(policy: "PPO", buffer: RolloutBuffer) -> Corrected:
    network, config = policy.network, policy.config
    batch = Minibatch.of(buffer, buffer.sequences(config.chunk_epochs))
    judged = evaluate(network, buffer, batch)
    log_ratios = _in_place(joint_log_ratio(judged, batch.take(buffer.log_probs)), batch, buffer)
    values = _in_place(network.denormalised(judged.values), batch, buffer)
    found = v_trace(buffer.rewards, values, buffer.ends, buffer.final_values, log_ratios, gamma=buffer.gamma)
    least = config.least_advantage_deviation * float(network.return_moments.deviation())
    advantages = normalised(found.advantages, buffer.choosable, least)
    return Corrected(
        targets=Targets(
            advantages=compared_by_head(advantages, buffer.chosen[..., 0], buffer.choosable),
            returns=network.normalised_returns(found.values),
            values=network.normalised_returns(values),
        ),
        surprise=torch.where(buffer.valid, found.advantages.abs(), 0.0),
        log_ratios=log_ratios,
    )


def _in_place(values: Tensor, batch: Minibatch, buffer: RolloutBuffer) -> Tensor:
    """Bring what was computed sequence by sequence, (L, B), to where the steps are in the buffer, (T, N)."""
    found = torch.zeros_like(buffer.rewards)
    found[batch.rows[batch.valid], batch.columns[batch.valid]] = values[batch.valid]
    return found


def _policy_loss(judged: Judged, batch: Minibatch, targets: Targets, weight: Tensor) -> Tensor:
    """The policy's gradient, negated; the advantages hold the truncated ratios."""
    gain = judged.log_probs * batch.take(targets.advantages) * weight[batch.columns][..., None]
    return -mean_by_head(gain, judged.mattered & batch.valid[..., None]).sum()


def _value_loss(judged: Judged, batch: Minibatch, targets: Targets, weight: Tensor) -> Tensor:
    error = (judged.values - batch.take(targets.returns)).square() * weight[batch.columns]
    return 0.5 * error[batch.valid].mean()
