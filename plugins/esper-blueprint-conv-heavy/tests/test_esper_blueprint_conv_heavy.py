"""What is special about conv-heavy."""

import pytest
import torch

from esper_blueprint_conv_heavy.config import ConvHeavyConfig
from esper_blueprint_conv_heavy.module import ConvHeavy
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize("expansion", [1, 2, 3])
def test_parameters_follow_the_formula(expansion: int) -> None:
    seed = ConvHeavy(SITE, ConvHeavyConfig(expansion=expansion))
    assert count(seed) == 18 * expansion * 8**2 + 2 * (expansion + 1) * 8


def test_sees_two_steps_far() -> None:
    """Two 3x3 convolutions: before any normalisation an output depends on a 5x5 window of the input."""
    seed, h = ConvHeavy(SITE, ConvHeavyConfig()), torch.randn(1, 8, 9, 9, requires_grad=True)
    first, second = seed.body[0][0], seed.body[2][0]
    second(first(h))[0, 0, 4, 4].backward()
    rows = h.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
    assert rows == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("expansion", [0, -1, 1.5])
def test_refuses_an_expansion_without_channels(expansion: object) -> None:
    with pytest.raises((ValueError, TypeError), match="expansion"):
        ConvHeavyConfig(expansion=expansion)
