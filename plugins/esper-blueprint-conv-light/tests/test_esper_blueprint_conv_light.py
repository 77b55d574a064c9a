"""What is special about conv-light."""

import pytest
import torch

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def bounded(gain: float | torch.Tensor) -> float | torch.Tensor:
    return gain / (1 + gain**2) ** 0.5


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_parameters_follow_the_formula(kernel: int) -> None:
    assert count(ConvLight(SITE, ConvLightConfig(kernel=kernel))) == kernel**2 * 8**2 + 2 * 8


def test_is_a_gained_relu_of_the_normalised_convolution() -> None:
    seed, h, gain = ConvLight(SITE, ConvLightConfig()), torch.randn(2, 8, 6, 6), torch.linspace(-1, 1, 8)
    with torch.no_grad():
        seed.gain.gain.copy_(gain)
    conv = seed.body[0][0]
    y = torch.conv2d(h, conv.weight, conv.bias, padding=1).view(2, 2, -1)  # two groups of four channels
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    y = y.view(2, 8, 6, 6).clamp(min=0) * bounded(gain).view(1, 8, 1, 1)
    expected = y * h.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(seed(h), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [0, 2, -3, 3.0])
def test_refuses_a_kernel_that_would_change_the_size(kernel: object) -> None:
    with pytest.raises((ValueError, TypeError), match="kernel"):
        ConvLightConfig(kernel=kernel)
