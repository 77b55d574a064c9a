"""Running a network on a few made-up samples, without changing it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

#: Calls the network on a batch.
Call = Callable[[Any], Any]


@frozen(kw_only=True)
class Probe:
    """Made-up samples.

    Attributes:
        inputs: the network's inputs.
        altered: the same with other tokens from position `split` on; None if the inputs are not tokens.
        padded: the same with padding; None if padding is not possible.
        real: (size, length) of bool: True where `padded` has no padding.
        size: number of samples.
        split: first position that is altered.
    """

    inputs: Any
    altered: Any = None
    padded: Any = None
    real: Tensor | None = None
    size: int
    split: int = 0


def probe_size(length: int) -> int:
    """Return a small number of samples that cannot be mistaken for the number of positions."""
    return 2 if length != 2 else 3


def draw_tokens(size: int, length: int, vocabulary: int, padding: int | None) -> tuple[Tensor, Tensor, int]:
    """Return tokens (size, length) without padding, the same with another second half, and where that half begins.

    The other half repeats one token that does not occur elsewhere, so even an average over it differs at any length.
    """
    first, *others = [token for token in range(vocabulary) if token != padding] or [0]
    ids, split = torch.tensor(others or [first]), length // 2
    tokens = ids[torch.randint(len(ids), (size, length), generator=torch.Generator().manual_seed(0))]
    altered = tokens.clone()
    altered[:, split:] = first
    return tokens, altered, split


def draw_padding(size: int, length: int) -> Tensor | None:
    """Return which positions are real, (size, length) of bool: all of the first sample, half of every other.

    None if a sample has fewer than two positions.
    """
    real = torch.ones((size, length), dtype=torch.bool)
    real[1:, (length + 1) // 2 :] = False
    return None if real.all() else real


def draw_images(size: int, shape: tuple[int, ...]) -> Tensor:
    """Return images (size, channels, height, width) of normally distributed numbers."""
    return torch.randn((size, *shape), generator=torch.Generator().manual_seed(0))


def draws_random_numbers(network: nn.Module, call: Call, probe: Probe) -> bool:
    """Say whether the network draws random numbers in training: any form of dropout."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with undisturbed(network):
        network.train()
        before = torch.get_rng_state()
        call(probe.inputs)
        drawn = not torch.equal(torch.get_rng_state(), before)
        for buffer, value in buffers:
            buffer.copy_(value)
    return drawn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Use evaluation mode without gradients; restore every module's training flag and the random state afterwards."""
    flags = [(module, module.training) for module in network.modules()]
    cuda = [device for device in {p.device for p in network.parameters()} if device.type == "cuda"]
    try:
        network.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            yield
    finally:
        for module, training in flags:
            module.training = training
