"""The network: features -> normaliser -> MLP -> LSTM -> heads, one after the other, and a value."""

from collections.abc import Callable, Sequence
from functools import cached_property
from math import sqrt

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import one_hot

from esper_core.api import Op
from esper_policy_ppo.choices import entropy, masked_log_softmax, relevant
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import BLENDS, HEADS, OPS, Inputs
from esper_policy_ppo.moments import RunningMoments

#: The longest memory that a unit of the LSTM begins with, in epochs.
LONGEST_MEMORY = 64.0

#: Hidden and cell state of the LSTM, (B, hidden) each.
Hidden = tuple[Tensor, Tensor]


@frozen(eq=False, kw_only=True)
class Judged:
    """What the policy thinks of choices.

    Attributes:
        chosen: (..., 4) of int64, a choice of each head.
        log_probs: (..., 4), of each; 0 for a head that the operation does not use.
        used: (..., 4) of bool, the heads that the operation uses.
        distributions: of each head, (..., C) each, log-probabilities of its choices; -inf where one is not possible.
        values: (...), normalised.
    """

    chosen: Tensor
    log_probs: Tensor
    used: Tensor
    distributions: Sequence[Tensor]
    values: Tensor

    @cached_property
    def entropies(self) -> Tensor:
        """(..., 4), of each head's distribution, as a share of the largest possible; 0 for an unused head."""
        return torch.where(self.used, torch.stack([entropy(it) for it in self.distributions], dim=-1), 0.0)

    @cached_property
    def mattered(self) -> Tensor:
        """(..., 4) of bool, the heads that were used and had a choice."""
        choices = torch.stack([(it > -torch.inf).sum(-1) for it in self.distributions], dim=-1)
        return self.used & (choices > 1)


class Network(nn.Module):
    """Policy and value of hosts with any number of slots, for one catalogue.

    Every slot is encoded by the same weights, and the slot head is a pointer: it scores encodings (Vinyals et al.,
    2015). What follows sees the encoding of the chosen slot, so nothing depends on how many there are.

    Args:
        features: the numbers of features of a host and of a slot.
        blueprints: how many the catalogue has.
        config: the widths.
    """

    def __init__(self, features: tuple[int, int], blueprints: int, config: PPOConfig) -> None:
        super().__init__()
        host, slot = features
        hidden, encoding = config.hidden, config.slot_encoding
        self._clip = config.observation_clip
        self.host_moments, self.slot_moments = RunningMoments(host), RunningMoments(slot)
        self.return_moments = RunningMoments(1)
        self.slot_encoder = nn.Sequential(_linear(slot, encoding), nn.ReLU(), _linear(encoding, encoding), nn.ReLU())
        self.body = nn.Sequential(_linear(host + 2 * encoding, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.lstm = _lstm(hidden)
        self.norm = nn.LayerNorm(hidden)
        self.op_head = _head(hidden, hidden, len(OPS))
        nn.init.constant_(_last(self.op_head).bias[OPS.index(Op.WAIT)], config.wait_bias)
        self.slot_head = _head(hidden + len(OPS) + encoding, hidden, 1)
        self.blueprint_head = _head(hidden + encoding, hidden, blueprints)
        self.blend_head = _head(hidden + encoding + blueprints, hidden, len(BLENDS))
        self.value_head = _head(hidden, hidden, 1, gain=1.0)

    def start(self, count: int) -> Hidden:
        """Return the hidden states of hosts that are new: zeros."""
        zeros = torch.zeros(count, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def forward(self, inputs: Inputs, hidden: Hidden) -> tuple[Tensor, Tensor, Hidden]:
        """Return features (L, B, hidden), encodings of slots (L, B, S, E), and the hidden states after the last step.

        Args:
            inputs: (L, B, ...), a sequence of each of B hosts.
            hidden: before the first step of each.
        """
        present = inputs.present[..., None]
        encodings = self.slot_encoder(self.slot_moments.normalised(inputs.slots, self._clip)) * present
        mean = encodings.sum(-2) / present.sum(-2).clamp(min=1)
        # Encodings are not negative, so that a slot that is not there is never the largest.
        pooled = torch.cat([self.host_moments.normalised(inputs.host, self._clip), mean, encodings.amax(-2)], dim=-1)
        seen = self.body(pooled)
        out, (h, c) = self.lstm(seen, (hidden[0][None], hidden[1][None]))
        return self.norm(seen + out), encodings, (h[0], c[0])

    def judge(
        self, features: Tensor, encodings: Tensor, inputs: Inputs, choose: Callable[[int, Tensor], Tensor]
    ) -> Judged:
        """Choose with one head after the other, each under the masks that follow from the choices before it.

        Args:
            features, encodings: of `forward`.
            inputs: the same hosts'.
            choose: is given the number of a head and its log-probabilities (..., C), and returns choices (...).
        """
        log_probs = [masked_log_softmax(self.op_head(features), inputs.op)]
        op = choose(0, log_probs[0])

        # The slots that the chosen operation may act on: (..., 4, S) at op.
        slot_mask = _at(inputs.slot, op)
        asked = torch.cat([features, one_hot(op, len(OPS)).to(features)], dim=-1)
        asked = asked[..., None, :].expand(*encodings.shape[:-1], -1)
        scores = self.slot_head(torch.cat([asked, encodings], dim=-1))[..., 0]
        log_probs.append(masked_log_softmax(scores, slot_mask))
        slot = choose(1, log_probs[1])

        # The blueprints that fit the chosen slot: (..., S, K) at slot.
        there = torch.cat([features, _at(encodings, slot)], dim=-1)
        log_probs.append(masked_log_softmax(self.blueprint_head(there), _at(inputs.blueprint, slot)))
        blueprint = choose(2, log_probs[2])

        grown = torch.cat([there, one_hot(blueprint, inputs.blueprint.shape[-1]).to(there)], dim=-1)
        log_probs.append(masked_log_softmax(self.blend_head(grown), inputs.blend))
        blend = choose(3, log_probs[3])

        chosen, used = torch.stack([op, slot, blueprint, blend], dim=-1), relevant(op)
        taken = torch.stack([_at(log_probs[head], chosen[..., head]) for head in range(len(HEADS))], dim=-1)
        return Judged(
            chosen=chosen,
            # `where` and no product: what an unused head would have given may be -inf.
            log_probs=torch.where(used, taken, 0.0),
            used=used,
            distributions=log_probs,
            values=self.value_head(features)[..., 0],
        )

    def denormalised(self, values: Tensor) -> Tensor:
        """Return values, (...), in units of the reward."""
        return values * self.return_moments.deviation().float() + self.return_moments.mean.float()

    @torch.no_grad()
    def take_in_returns(self, returns: Tensor) -> None:
        """Update the moments of returns, (n,), and keep every value in units of the reward as it is.

        So the value head does not have to learn again what moved under it (PopArt, van Hasselt et al., 2016).
        """
        mean, deviation = self.return_moments.mean.clone(), self.return_moments.deviation()
        self.return_moments.update(returns[:, None])
        new = self.return_moments.deviation()
        last = _last(self.value_head)
        last.weight.mul_((deviation / new).float())
        last.bias.copy_(((deviation * last.bias.double() + mean - self.return_moments.mean) / new).float())

    def normalised_returns(self, returns: Tensor) -> Tensor:
        """Return returns, (...), as the value head predicts them."""
        return (returns - self.return_moments.mean.float()) / self.return_moments.deviation().float()


def build_network(features: tuple[int, int], blueprints: int, config: PPOConfig) -> Network:
    """Return a network whose weights follow from `config.seed` alone; global random generators are left as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Network(features, blueprints, config)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Return values[..., index, :] of (..., C, W), or values[..., index] of (..., C), with an index for each row."""
    if values.dim() == index.dim() + 1:
        return values.gather(-1, index[..., None])[..., 0]
    picked = index[..., None, None].expand(*index.shape, 1, values.shape[-1])
    return values.gather(-2, picked)[..., 0, :]


def _linear(inputs: int, outputs: int, gain: float = sqrt(2.0)) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _head(inputs: int, hidden: int, outputs: int, gain: float = 0.01) -> nn.Sequential:
    """A small last gain: the first policy is nearly uniform over what is possible."""
    return nn.Sequential(_linear(inputs, hidden), nn.ReLU(), _linear(hidden, outputs, gain))


def _last(head: nn.Sequential) -> nn.Linear:
    layer = head[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def _lstm(width: int) -> nn.LSTM:
    lstm = nn.LSTM(width, width)
    for name, parameter in lstm.named_parameters():
        if "weight" in name:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
    # Its units begin with memories of 1 to `LONGEST_MEMORY` steps (Tallec and Ollivier, 2018, "Can recurrent neural
    # networks warp time?"). In one of the two biases only: they are added.
    spans = torch.linspace(1.0, LONGEST_MEMORY - 1.0, width).log()
    with torch.no_grad():
        lstm.get_parameter("bias_ih_l0")[:width] = -spans
        lstm.get_parameter("bias_ih_l0")[width : 2 * width] = spans
    return lstm
