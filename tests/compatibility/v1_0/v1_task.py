"""A task as plugin API 1.0 has it: which of three directions a vector points in."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from esper_core.api import DataShape, Split, Splits, TaskKind
from esper_core.hooks import hookimpl
from esper_core.specs import TaskSpec

ESPER_API = "1.0"

CLASSES = 3


@frozen(kw_only=True)
class Options:
    """Options of the task."""

    samples: int = 60


class Directions:
    shape = DataShape(kind=TaskKind.VECTORS, input_shape=(5,), outputs=CLASSES)
    random_guess_loss = math.log(CLASSES)

    def __init__(self, config: Options) -> None:
        self.samples = config.samples
        self.identity: Mapping[str, Any] = {"name": "v1", "samples": config.samples}

    def load(self) -> Splits:
        draw = torch.Generator().manual_seed(0)
        inputs = torch.randn(3 * self.samples, 5, generator=draw)
        targets = inputs[:, :CLASSES].argmax(1)
        parts = [Split(inputs=x, targets=y) for x, y in zip(inputs.chunk(3), targets.chunk(3), strict=True)]
        return Splits(train=parts[0], validation=parts[1], test=parts[2])

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()


@hookimpl
def esper_tasks():
    yield TaskSpec(
        name="v1",
        summary="Directions.",
        factory=Directions,
        config=Options,
        host="v1",
        host_options={"width": 4},
        defaults={"epochs": 10, "batch_size": 20, "optimizer.lr": 0.01},
    )
