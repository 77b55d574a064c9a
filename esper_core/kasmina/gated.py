"""Gated blending: each sample takes a share of a seed's update that the seed itself decides."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend

#: What a score of zero gives: sigmoid(2) = 0.88. Near 1, since the plain blend is what is known to work, and not so
#: near that a share could not move. It is not a parameter: weight decay pulls the share back to it, not to one half.
_SCORE_AT_BIRTH = 2.0
_EPSILON = 1e-6


class Share(nn.Module):
    """How much of an update each sample takes, in (0, 1): a logistic function of the activation's features.

    Shape (B, 1, 1, 1) for `NCHW`, from the means over the image; (B, T, 1) for `BTD` and (B, 1) for `BD`. Each position
    of a sequence decides for itself: a mean over positions would show the future to causal text, and padding to others.
    Features are scaled to unit root mean square, so that what a score weighs does not depend on the host's scale.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.image = site.layout is Layout.NCHW
        self.score = nn.Linear(site.width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the share of every sample of `h`."""
        features = h.mean((2, 3)) if self.image else h
        scaled = features * torch.rsqrt(features.square().mean(-1, keepdim=True) + _EPSILON)
        share = torch.sigmoid(self.score(scaled) + _SCORE_AT_BIRTH)
        return share[:, :, None, None] if self.image else share


class GatedSeed(nn.Module):
    """A seed whose update is ``share(h) * delta(h)``: it stands in the slot in place of the seed.

    So the share is the seed's: its parameters are in the seed's optimizer group, come and go with it, and fossilize
    with it. At birth delta is zero, hence so is the update, and delta's first gradient is not.

    Args:
        seed: computes delta.
        site: where it acts.
    """

    def __init__(self, seed: nn.Module, site: Site) -> None:
        super().__init__()
        self.seed = seed
        self.share = Share(site)

    def forward(self, h: Tensor, *mask: Any) -> Tensor:
        """Return the update of `h`; a padding mask goes to seeds that take one."""
        update: Tensor = self.share(h) * self.seed(h, *mask)
        return update


def blended(build: Callable[[Site], nn.Module], site: Site, blend: Blend) -> nn.Module:
    """Build the seed that a slot holds, for this kind of blend."""
    seed = build(site)
    return GatedSeed(seed, site) if blend is Blend.GATED else seed
