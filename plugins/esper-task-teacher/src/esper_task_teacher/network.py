"""The teacher: the host `cnn` with residual updates after its blocks; all weights are drawn once and never trained."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import Layout
from esper_core.nn import BoundedGain, conv_norm
from esper_task_teacher.config import TeacherConfig

#: As in the host's blocks.
GROUPS, POOLED_BLOCKS = 2, 2


class Update(nn.Module):
    """Adds ``relu(norm(conv(h)))`` times a bounded gain to `h`, (B, C, H, W): what one `conv-light` can compute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(width, width, last=True), nn.ReLU())
        self.gain = BoundedGain(width, Layout.NCHW)

    def forward(self, h: Tensor) -> Tensor:
        """Return the updated activation."""
        return h + self.gain(self.body(h), h)


class Block(nn.Module):
    """A 3x3 convolution, a normalisation, ReLU, a 2x2 max pool if `pooled`, and updates."""

    def __init__(self, inputs: int, width: int, updates: int, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.updates = nn.Sequential(*(Update(width) for _ in range(updates)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H, W), with half the height and width if pooled."""
        return self.updates(self.pool(F.relu(self.norm(self.conv(x)))))


class Teacher(nn.Module):
    """Images (B, C, H, W) of float64 -> logits (B, classes) of float64.

    Weights are normally distributed with variance 1 / fan-in; gains are `strength` with a random sign. float64 makes
    labels independent of differences in rounding.

    Args:
        config: the options.
        random: the random stream for the weights.
    """

    def __init__(self, config: TeacherConfig, random: np.random.RandomState) -> None:
        super().__init__()
        steps = zip(pairwise((config.channels, *config.widths)), config.updates, strict=True)
        self.blocks = nn.Sequential(
            *(Block(a, b, updates, pooled=at < POOLED_BLOCKS) for at, ((a, b), updates) in enumerate(steps))
        )
        self.head = nn.Linear(config.widths[-1], config.classes)
        self.double().requires_grad_(False)
        self._draw(config, random)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.blocks(images).mean(dim=(2, 3)))

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Scale and shift the head to give each logit mean 0 and standard deviation 1 over these images."""
        logits = self(images)
        deviations = logits.std(dim=0)
        self.head.weight /= deviations[:, None]
        self.head.bias.copy_((self.head.bias - logits.mean(dim=0)) / deviations)

    def _draw(self, config: TeacherConfig, random: np.random.RandomState) -> None:
        # The bounded gain is g / sqrt(1 + g^2); this is its inverse.
        gain = config.strength / (1 - config.strength**2) ** 0.5
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                values = random.standard_normal(tuple(module.weight.shape)) / fan_in**0.5
                module.weight.copy_(torch.from_numpy(values))
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, BoundedGain):
                signs = random.choice([-1.0, 1.0], size=module.gain.shape[0])
                module.gain.copy_(torch.from_numpy(gain * signs))
