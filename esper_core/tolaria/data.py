"""Batches of resident tensors in an order that follows from a seed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from esper_core.leyline.protocols import Split, Task
from esper_core.leyline.streams import derive_seed


class BatchStream:
    """The training batches of each epoch.

    The order and the augmentation of an epoch follow from the seed and the epoch's number alone, so that the twin sees
    the same batches and a resumed run goes on where it stopped. Every sample is seen once per epoch, the last,
    smaller batch included.

    Args:
        split: resident training data.
        task: augments the batches.
        batch_size: samples per batch.
        seed: of the data order.
    """

    def __init__(self, split: Split, task: Task, batch_size: int, seed: int) -> None:
        self._split = split
        self._task = task
        self._batch_size = batch_size
        self._seed = seed

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return -(-len(self._split.targets) // self._batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of every batch of this epoch."""
        order_stream = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
        augment_stream = torch.Generator().manual_seed(derive_seed(self._seed, "augment", epoch))
        order = torch.randperm(len(self._split.targets), generator=order_stream)
        order = order.to(self._split.targets.device)
        for indices in torch.split(order, self._batch_size):
            inputs = self._split.inputs.index_select(0, indices)
            yield self._task.augment(inputs, augment_stream), self._split.targets.index_select(0, indices)


def in_order(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, targets) of the whole split in its own order."""
    yield from zip(torch.split(split.inputs, batch_size), torch.split(split.targets, batch_size), strict=True)
