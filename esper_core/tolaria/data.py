"""Batches of resident tensors: what a network is called with, and in which order."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.leyline.protocols import Split, Task
from esper_core.leyline.streams import derive_seed

#: What a network is called with: one tensor, several in order, or several by name. The first axis is the batch.
Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


@frozen(kw_only=True)
class Samples:
    """Samples to measure a network on that are no single tensor: several inputs, or batches of different lengths.

    Attributes:
        batches: pairs of inputs and targets, as resident tensors.
    """

    batches: tuple[tuple[Inputs, Tensor], ...]


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
        self.seed = seed

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return -(-len(self._split.targets) // self._batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of every batch of this epoch."""
        order_stream = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        augment_stream = torch.Generator().manual_seed(derive_seed(self.seed, "augment", epoch))
        order = torch.randperm(len(self._split.targets), generator=order_stream)
        order = order.to(self._split.targets.device)
        for indices in torch.split(order, self._batch_size):
            inputs = self._split.inputs.index_select(0, indices)
            yield self._task.augment(inputs, augment_stream), self._split.targets.index_select(0, indices)


def in_order(data: Split | Samples, batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
    """Yield (inputs, targets) of all samples in their own order, at most `batch_size` at a time."""
    for inputs, targets in batches_of(data):
        for begin in range(0, len(targets), batch_size):
            end = begin + batch_size
            yield part(inputs, begin, end), targets[begin:end]


def batches_of(data: Split | Samples) -> tuple[tuple[Inputs, Tensor], ...]:
    """Return the batches that data to measure on consists of."""
    return data.batches if isinstance(data, Samples) else ((data.inputs, data.targets),)


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call a network on a batch: a mapping by names, a tuple in order."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the tensors of a batch."""
    if isinstance(inputs, Mapping):
        return tuple(inputs.values())
    return inputs if isinstance(inputs, tuple) else (inputs,)


def each(inputs: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """Return a batch with a function applied to each of its tensors."""
    if isinstance(inputs, Mapping):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(map(function, inputs)) if isinstance(inputs, tuple) else function(inputs)


def rows(inputs: Inputs) -> int:
    """Return the number of samples in a batch."""
    return len(tensors(inputs)[0])


def part(inputs: Inputs, begin: int, end: int) -> Inputs:
    """Return the samples from `begin` up to `end` of a batch."""
    return each(inputs, partial(_rows, begin=begin, end=end))


def _rows(tensor: Tensor, begin: int, end: int) -> Tensor:
    return tensor[begin:end]
