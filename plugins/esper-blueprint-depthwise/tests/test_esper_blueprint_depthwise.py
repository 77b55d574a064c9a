"""What is special about depthwise."""

import pytest
import torch

from esper_blueprint_depthwise.config import DepthwiseConfig
from esper_blueprint_depthwise.module import Depthwise
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_parameters_follow_the_formula(kernel: int) -> None:
    assert count(Depthwise(SITE, DepthwiseConfig(kernel=kernel))) == 8**2 + (kernel**2 + 4) * 8


def test_filters_channels_on_their_own_before_it_mixes_them() -> None:
    seed = Depthwise(SITE, DepthwiseConfig())
    filters, mix = seed.body[0][0], seed.body[2][0]
    assert filters.weight.shape == (8, 1, 3, 3)
    assert mix.weight.shape == (8, 8, 1, 1)


def test_update_has_both_signs() -> None:
    seed = Depthwise(SITE, DepthwiseConfig())
    with torch.no_grad():
        seed.gain.gain.fill_(1.0)
    delta = seed(torch.randn(4, 8, 6, 6))
    assert delta.max() > 0 > delta.min()


@pytest.mark.parametrize("kernel", [0, 2, -3, 3.0])
def test_refuses_a_kernel_that_would_change_the_size(kernel: object) -> None:
    with pytest.raises((ValueError, TypeError), match="kernel"):
        DepthwiseConfig(kernel=kernel)
