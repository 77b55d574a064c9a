"""The network: blocks of convolution, normalisation, ReLU and pool, then a mean over the pixels and a linear head."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, HostBuild, Layout, SiteRequest, TaskKind
from esper_core.specs import Capability
from esper_host_cnn.config import CnnConfig, Norm


class Block(nn.Module):
    """A 3x3 convolution, a normalisation, ReLU, and a 2x2 max pool if `pooled`.

    (B, in_channels, H, W) -> (B, width, H, W), or (B, width, H // 2, W // 2) if pooled. The site of a block is its
    output, so a seed works on the pooled activation.
    """

    def __init__(self, in_channels: int, width: int, norm: nn.Module, pooled: bool) -> None:
        super().__init__()
        # No bias: the normalisation has one.
        self.conv = nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False)
        self.norm = norm
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation."""
        return self.pool(F.relu(self.norm(self.conv(x))))


class Cnn(nn.Module):
    """The host: (B, C, H, W) floats -> (B, outputs) logits.

    Layers are initialised by torch's defaults from the global generator, in the order of the forward pass.
    """

    def __init__(self, config: CnnConfig, in_channels: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(before, width, _norm(config, width), pooled=index < config.pooled_blocks)
            for index, (before, width) in enumerate(pairwise((in_channels, *config.widths)))
        )
        self.head = nn.Linear(config.widths[-1], outputs)
        self._wanted = torch.channels_last if config.channels_last else torch.contiguous_format
        self.to(memory_format=self._wanted)

    @property
    def memory_format(self) -> torch.memory_format:
        """That of the weights, which a run may have changed; a single input channel has none to tell."""
        # Not `self.blocks`: what is exported has each of them inside of another module.
        for weight in (module.conv.weight for module in self.modules() if isinstance(module, Block)):
            channels_last = weight.is_contiguous(memory_format=torch.channels_last)
            if channels_last != weight.is_contiguous():
                return torch.channels_last if channels_last else torch.contiguous_format
        return self._wanted

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        x = images.contiguous(memory_format=self.memory_format)
        for block in self.blocks:
            x = block(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def build(config: CnnConfig, data: DataShape) -> HostBuild:
    """Build the host for this data, with the sites ``block0``, ``block1``, …

    Raises:
        EsperError: E402 if the data are not images, or the images are too small for the blocks.
    """
    channels, height, width = _image_shape(data)
    _check_room(config, height, width)
    module = Cnn(config, channels, data.outputs)
    sites = [
        SiteRequest(path=f"blocks.{index}", id=f"block{index}", layout=Layout.NCHW)
        for index in range(len(config.widths))
    ]
    capabilities = {Capability.BATCH_STATISTICS} if config.norm is Norm.BATCH else set()
    return HostBuild(module=module, sites=sites, capabilities=capabilities)


def _norm(config: CnnConfig, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if config.norm is Norm.BATCH else nn.GroupNorm(config.norm_groups, width)


def _image_shape(data: DataShape) -> tuple[int, int, int]:
    if data.kind is not TaskKind.IMAGES or len(data.input_shape) != 3:
        raise EsperError(
            "E402",
            f"the host cnn cannot take {data.kind} of shape {data.input_shape}",
            where="host cnn",
            why="it takes images of shape (channels, height, width)",
            fix="choose a host that fits the task's data, or a task with images",
        )
    channels, height, width = data.input_shape
    return channels, height, width


def _check_room(config: CnnConfig, height: int, width: int) -> None:
    """Refuse images that are smaller than a pool, or that leave a group with a single value to normalise."""
    for index, channels in enumerate(config.widths):
        if config.norm is Norm.GROUP and height * width * channels == config.norm_groups:
            raise EsperError(
                "E402",
                f"block {index} of the host cnn has one pixel and {channels} channels in {config.norm_groups} groups",
                where=f"host.widths={list(config.widths)}, host.groups={config.norm_groups}",
                why="a group with one value normalises to zero, so the block's output would be constant",
                fix="set host.groups=1, a larger width, or a smaller host.pool",
            )
        if index < config.pooled_blocks:
            height, width = height // 2, width // 2
        if height < 1 or width < 1:
            raise EsperError(
                "E402",
                f"the images are too small for {config.pooled_blocks} pools",
                where=f"host.widths={list(config.widths)}, host.pool={config.pool}",
                why=f"the pool of block {index} leaves {height}x{width} pixels",
                fix=f"set host.pool to {index} or less, or give larger images",
            )
