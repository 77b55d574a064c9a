"""The PPO update (Schulman et al., 2017) of a recurrent policy with heads that depend on each other."""

from collections.abc import Mapping, Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import HEADS
from esper_policy_ppo.network import Judged, Network
from esper_policy_ppo.rollout_buffer import Minibatch, RolloutBuffer, Span

#: Weight of what the entropy of the operation lacks to its floor. It is large beside `entropy_coefficient`: where
#: growing does not pay yet, every step in which a policy grew pushes it to wait.
FLOOR_WEIGHT = 1.0

#: The update stops where the mean divergence is above this many times `target_kl`.
KL_TOLERANCE = 1.5


@frozen(eq=False, kw_only=True)
class Targets:
    """What an update pulls at.

    Attributes:
        advantages: (T, N, 4), of each head; normalised over the steps of the round in which there was a choice.
        returns: (T, N), normalised, as the value head predicts them.
        values: (T, N), of the policy that acted, normalised in the same way.
    """

    advantages: Tensor
    returns: Tensor
    values: Tensor


@define
class UpdateCount:
    """What an update did.

    Attributes:
        steps: steps of the optimizer.
        skipped: minibatches without one, because a loss or a gradient was not finite.
        stopped: it ended early, at `target_kl`.
        losses: sums over its steps, by name.
    """

    steps: int = 0
    skipped: int = 0
    stopped: bool = False
    losses: dict[str, float] = field(factory=dict)

    def mean_losses(self) -> Mapping[str, float]:
        """Return the mean losses of its steps; none without a step."""
        return {name: value / self.steps for name, value in self.losses.items()} if self.steps else {}


def update(
    network: Network,
    optimizer: torch.optim.Optimizer,
    buffer: RolloutBuffer,
    targets: Targets,
    config: PPOConfig,
    *,
    entropy_weight: float,
    entropy_floor: float,
    generator: torch.Generator,
) -> UpdateCount:
    """Train the network on a round, sequence by sequence, in a new order in each pass.

    Args:
        network: is trained.
        optimizer: of its parameters.
        buffer: the round.
        targets: what it is trained towards.
        config: hyper-parameters.
        entropy_weight: weight of the entropy in this update.
        entropy_floor: of the operation in each step, a share of what was possible; 0: none.
        generator: of the order.
    """
    spans, count = buffer.sequences(config.chunk_epochs), UpdateCount()
    for _ in range(config.update_epochs):
        order = torch.randperm(len(spans), generator=generator)
        for part in order.tensor_split(min(config.minibatches, len(spans))):
            batch = Minibatch.of(buffer, [spans[index] for index in part.tolist()])
            judged = evaluate(network, buffer, batch)
            log_ratio = joint_log_ratio(judged, batch.take(buffer.log_probs))
            # Before the step that would be one too many, and whatever pass it belongs to.
            if config.target_kl is not None and _too_far(
                log_ratio, batch.take(buffer.choosable) & batch.valid, config.target_kl
            ):
                count.stopped = True
                return count
            entropies = mean_entropies(judged, batch.valid)
            losses = {
                "policy loss": policy_loss(judged, log_ratio, batch.take(targets.advantages), batch.valid, config),
                "value loss": value_loss(judged, batch, targets, config),
                "entropy": entropies.mean(),
            }
            loss = (
                losses["policy loss"]
                + config.value_coefficient * losses["value loss"]
                - entropy_weight * losses["entropy"]
            )
            if entropy_floor:
                loss = loss + FLOOR_WEIGHT * lacking_entropy(judged, batch.valid, entropy_floor)
            optimizer_step(network, optimizer, loss, losses, config.max_gradient_norm, count)
    return count


def lacking_entropy(judged: Judged, valid: Tensor, floor: float) -> Tensor:
    """Return what the entropy of the operation lacks to a floor, the mean over the steps in which it had a choice.

    It is asked of each step. Were it asked of their mean, a policy could be uncertain whether to germinate, and certain
    to cull what it has germinated.
    """
    lacking = (floor - judged.entropies[..., 0]).clamp(min=0.0)
    counts = judged.mattered[..., 0] & valid
    return torch.where(counts, lacking, 0.0).sum() / counts.sum().clamp(min=1)


def evaluate(network: Network, buffer: RolloutBuffer, batch: Minibatch) -> Judged:
    """Return what the network thinks now of what was chosen then, (L, B): one LSTM call, under the same masks."""
    inputs = buffer.inputs.map(batch.take)
    chosen = batch.take(buffer.chosen)
    features, encodings, _ = network(inputs, batch.hidden)
    return network.judge(features, encodings, inputs, lambda head, _: chosen[..., head])


def joint_log_ratio(judged: Judged, old_log_probs: Tensor) -> Tensor:
    """Return log(new / old) of the probability of the whole action, (L, B): the heads that it uses, multiplied."""
    return (judged.log_probs - old_log_probs).sum(-1)


def policy_loss(judged: Judged, log_ratio: Tensor, advantages: Tensor, valid: Tensor, config: PPOConfig) -> Tensor:
    """Return the clipped objective, negated.

    The ratio that is clipped is that of the whole action. The gradient goes through one head at a time, and each
    head's part is the mean over the steps in which that head mattered: a head that is used in one step of a hundred
    learns as fast from it as the others do from theirs.

    Args:
        judged: what the policy thinks now, (L, B, 4).
        log_ratio: (L, B), of the whole action.
        advantages: (L, B, 4), of each head.
        valid: (L, B) of bool.
        config: hyper-parameters.
    """
    ratio = log_ratio.exp()[..., None].detach()
    # Equal to the joint ratio, with the gradient of one head.
    ratios = ratio * (judged.log_probs - judged.log_probs.detach()).exp()
    clipped = ratios.clamp(1.0 - config.clip_ratio, 1.0 + config.clip_ratio)
    gain = torch.minimum(ratios * advantages, clipped * advantages)
    return -mean_by_head(gain, judged.mattered & valid[..., None]).sum()


def value_loss(judged: Judged, batch: Minibatch, targets: Targets, config: PPOConfig) -> Tensor:
    """Return half the mean squared error of the normalised values; the larger of two errors if values are clipped."""
    returns = batch.take(targets.returns)
    error = (judged.values - returns).square()
    if config.value_clip is not None:
        old = batch.take(targets.values)
        moved = old + (judged.values - old).clamp(-config.value_clip, config.value_clip)
        error = torch.maximum(error, (moved - returns).square())
    return 0.5 * error[batch.valid].mean()


def mean_entropies(judged: Judged, valid: Tensor) -> Tensor:
    """Return the entropy of each head as a share of what was possible, (4,), 0 to 1: means over steps."""
    return mean_by_head(judged.entropies, judged.mattered & valid[..., None])


def divergence(log_ratio: Tensor, choosable: Tensor) -> float:
    """Return the mean KL divergence of the policy from the one that acted, by the estimator (r - 1) - log r.

    It is never negative, and of low variance (Schulman, 2020, "Approximating KL divergence"). The mean is over steps
    with a choice: all others agree, and would hide how far the policy has moved.
    """
    there = log_ratio[choosable].detach()
    return float((there.exp() - 1.0 - there).mean()) if len(there) else 0.0


@torch.no_grad()
def ratios(network: Network, buffer: RolloutBuffer, spans: Sequence[Span]) -> tuple[Tensor, dict[str, float]]:
    """Return the joint ratio of every step, (n,), and how far the policy has moved from the one that acted.

    The latter is ``kl`` of the whole action, and the figures of `by_head`.
    """
    batch = Minibatch.of(buffer, spans)
    judged, before = evaluate(network, buffer, batch), batch.take(buffer.log_probs)
    log_ratio = joint_log_ratio(judged, before)
    kl = divergence(log_ratio, batch.take(buffer.choosable) & batch.valid)
    return log_ratio[batch.valid].exp(), {"kl": kl, **by_head(judged, before, batch.valid)}


def movement(moved: Tensor, clip_ratio: float) -> dict[str, float]:
    """Return how far ratios, (n,), are from 1, and the share of them that is beyond the clip ratio."""
    return {
        "largest ratio": float(moved.max()),
        "smallest ratio": float(moved.min()),
        "ratio deviation": float(moved.std(correction=0)),
        "clipped share": float(((moved - 1.0).abs() > clip_ratio).float().mean()),
    }


def by_head(judged: Judged, old_log_probs: Tensor, valid: Tensor) -> dict[str, float]:
    """Return the entropy, as a share of what was possible, and the divergence of each head that mattered anywhere.

    Args:
        judged: what the policy thinks now, (L, B, 4).
        old_log_probs: (L, B, 4), of the policy that acted.
        valid: (L, B) of bool.
    """
    figures = {}
    for index, head in enumerate(HEADS):
        where = judged.mattered[..., index] & valid
        if where.any():
            figures[f"entropy of {head}"] = float(judged.entropies[..., index][where].mean())
            figures[f"kl of {head}"] = divergence((judged.log_probs - old_log_probs)[..., index], where)
    return figures


def _too_far(log_ratio: Tensor, choosable: Tensor, target: float) -> bool:
    return divergence(log_ratio, choosable) > KL_TOLERANCE * target


def optimizer_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    losses: Mapping[str, Tensor],
    max_norm: float,
    count: UpdateCount,
) -> None:
    """Take a step of the optimizer and count it; none where the loss or a gradient is not finite.

    Args:
        network: is trained.
        optimizer: of its parameters.
        loss: what is minimised.
        losses: its parts, by name; summed up in the count.
        max_norm: the gradient is scaled down to this norm.
        count: of the update.
    """
    optimizer.zero_grad(set_to_none=True)
    if torch.isfinite(loss):
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(clip_grad_norm_(network.parameters(), max_norm)):
            optimizer.step()
            count.steps += 1
            for name, value in losses.items():
                count.losses[name] = count.losses.get(name, 0.0) + float(value.detach())
            return
    count.skipped += 1


def mean_by_head(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of (L, B, 4) over the steps that count for each head, (4,); 0 for a head without one."""
    counted = torch.where(where, values, 0.0)
    return counted.sum((0, 1)) / where.sum((0, 1)).clamp(min=1)
