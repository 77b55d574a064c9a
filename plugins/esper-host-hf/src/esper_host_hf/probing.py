"""Running a network on a few made-up samples, without changing it."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from esper_growing.probing import undisturbed

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


def the_other_way_round(inputs: Any) -> Any:
    """Return the same samples in reverse order."""
    return tree_map(lambda leaf: leaf.flip(0) if isinstance(leaf, Tensor) and leaf.ndim else leaf, inputs)


def draws_random_numbers(network: nn.Module, call: Call, probe: Probe) -> bool:
    """Say whether the network draws random numbers in training: any form of dropout."""
    with undisturbed(network, training=True):
        network.train()
        before = torch.get_rng_state()
        call(probe.inputs)
        return not torch.equal(torch.get_rng_state(), before)
