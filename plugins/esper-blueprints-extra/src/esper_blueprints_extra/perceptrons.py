"""Perceptrons, gates and memory at each position of sequences, or on vectors, as residual updates."""

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprints_extra.config import (
    GatedMlpConfig,
    HighwayConfig,
    MemoryConfig,
    MixtureOfExpertsConfig,
    RecursiveMlpConfig,
)
from esper_core.api import Site
from esper_core.nn import BoundedGain, require_features


class Normalised(nn.Module, ABC):
    """Returns ``norm(body(norm(h)))`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D) or (B, D). Neither normalisation has parameters: they would duplicate those of the layer behind the
    first and of the gain behind the second.

    Raises:
        EsperError: E404 if the site has only one feature.
    """

    def __init__(self, blueprint: str, site: Site) -> None:
        super().__init__()
        require_features(blueprint, site)
        self.norm = nn.LayerNorm(site.width, elementwise_affine=False)
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, T, D) or (B, D)."""
        return cast(Tensor, self.gain(self.norm(self.body(self.norm(h))), h))

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """Return what the seed makes of the normalised activation; same shape."""


class GatedMlp(Normalised):
    """A perceptron whose hidden units are gated by others: ``down(silu(gate(x)) * up(x))``.

    Shazeer 2020, https://arxiv.org/abs/2002.05202.
    """

    def __init__(self, site: Site, config: GatedMlpConfig) -> None:
        super().__init__("gated-mlp", site)
        hidden = config.expansion * site.width
        self.gate = nn.Linear(site.width, hidden)
        self.up = nn.Linear(site.width, hidden)
        self.down = nn.Linear(hidden, site.width)

    def body(self, x: Tensor) -> Tensor:
        """Return the perceptron's output."""
        return cast(Tensor, self.down(F.silu(self.gate(x)) * self.up(x)))


class MixtureOfExperts(Normalised):
    """A sum of perceptrons, weighted by the input: ``sum over e of share_e(x) * down_e(gelu(up_e(x)))``.

    All experts are computed, so that everything learns from every position (Jacobs et al. 1991,
    https://doi.org/10.1162/neco.1991.3.1.79). Shares are non-negative and sum to 1.
    """

    def __init__(self, site: Site, config: MixtureOfExpertsConfig) -> None:
        super().__init__("mixture-of-experts", site)
        hidden = config.experts * config.expansion * site.width
        self.experts = config.experts
        self.router = nn.Linear(site.width, config.experts)
        self.up = nn.Linear(site.width, hidden)
        self.down = nn.Linear(hidden, site.width)

    def body(self, x: Tensor) -> Tensor:
        """Return the mixture's output."""
        shares = self.router(x).softmax(dim=-1)
        hidden = F.gelu(self.up(x))
        return cast(Tensor, self.down(hidden * shares.repeat_interleave(hidden.shape[-1] // self.experts, dim=-1)))


class Highway(nn.Module):
    """Returns part of the way from h to a new activation, by a gate for each feature: ``t * (new - h / rms(h)) / 2``.

    Times rms(h) and a bounded gain per feature that is zero at birth. ``t = sigmoid(gate(x))`` and
    ``new = norm(gelu(layer(x)))``, x being the normalised h (Srivastava et al. 2015, https://arxiv.org/abs/1505.00387).
    With the gain and the gate fully open, half of h is replaced, so that rms(update) <= rms(h).

    Raises:
        EsperError: E404 if the site has only one feature.
    """

    def __init__(self, site: Site, config: HighwayConfig) -> None:
        super().__init__()
        require_features("highway", site)
        width = site.width
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.layer = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, config.bias)
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, T, D) or (B, D)."""
        x = self.norm(h)
        new = self.norm(F.gelu(self.layer(x)))
        unit = F.rms_norm(h, h.shape[-1:])
        return cast(Tensor, self.gain(torch.sigmoid(self.gate(x)) * (new - unit) / 2, h))


class Memory(Normalised):
    """What each position reads from a learned table: ``values(softmax(keys(x) / sqrt(D)))``.

    Sukhbaatar et al. 2019, https://arxiv.org/abs/1907.01470. Positions do not see each other.
    """

    def __init__(self, site: Site, config: MemoryConfig) -> None:
        super().__init__("memory", site)
        self.keys = nn.Linear(site.width, config.slots, bias=False)
        # As large as what is looked up by a key that agrees, not as small as torch's default for many inputs.
        nn.init.normal_(self.keys.weight)
        self.values = nn.Linear(config.slots, site.width)

    def body(self, x: Tensor) -> Tensor:
        """Return what is read."""
        shares = (self.keys(x) / x.shape[-1] ** 0.5).softmax(dim=-1)
        return cast(Tensor, self.values(shares))


class RecursiveMlp(Normalised):
    """One perceptron, applied several times: ``x + step(norm(x)) / depth``, of which the change is returned.

    The same weights at every step make it an ordinary differential equation in `depth` steps of Euler's method (Chen
    et al. 2018, https://arxiv.org/abs/1806.07366).
    """

    def __init__(self, site: Site, config: RecursiveMlpConfig) -> None:
        super().__init__("recursive-mlp", site)
        hidden = config.expansion * site.width
        self.depth = config.depth
        self.step = nn.Sequential(nn.Linear(site.width, hidden), nn.GELU(), nn.Linear(hidden, site.width))

    def body(self, x: Tensor) -> Tensor:
        """Return how far the steps have led from `x`."""
        change = torch.zeros_like(x)
        for _ in range(self.depth):
            change = change + self.step(self.norm(x + change)) / self.depth
        return change
