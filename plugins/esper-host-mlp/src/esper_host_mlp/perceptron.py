"""The network: blocks of a linear layer and ReLU, then a linear head."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, HostBuild, Layout, SiteRequest, TaskKind
from esper_host_mlp.config import MlpHostConfig


class Block(nn.Module):
    """A linear layer and ReLU: (B, inputs) -> (B, width). The site of a block is its output."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation."""
        return F.relu(self.linear(x))


class Perceptron(nn.Module):
    """The host: (B, D) floats -> (B, outputs).

    Layers are initialised by torch's defaults from the global generator, in the order of the forward pass.
    """

    def __init__(self, config: MlpHostConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(before, width) for before, width in pairwise((inputs, *config.widths)))
        self.head = nn.Linear(config.widths[-1], outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the outputs for a batch of vectors."""
        x = vectors
        for block in self.blocks:
            x = block(x)
        outputs: Tensor = self.head(x)
        return outputs


def build(config: MlpHostConfig, data: DataShape) -> HostBuild:
    """Build the host for this data, with the sites ``block0``, ``block1``, …

    Raises:
        EsperError: E402 if the data are not vectors.
    """
    if data.kind is not TaskKind.VECTORS or len(data.input_shape) != 1:
        raise EsperError(
            "E402",
            f"the host mlp cannot take {data.kind} of shape {data.input_shape}",
            where="host mlp",
            why="it takes vectors of shape (features,)",
            fix="choose a host that fits the task's data, or a task with vectors",
        )
    module = Perceptron(config, data.input_shape[0], data.outputs)
    sites = [
        SiteRequest(path=f"blocks.{index}", id=f"block{index}", layout=Layout.BD) for index in range(len(config.widths))
    ]
    return HostBuild(module=module, sites=sites)
