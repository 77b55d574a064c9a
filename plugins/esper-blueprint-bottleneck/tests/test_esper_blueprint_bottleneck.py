"""What is special about bottleneck."""

import pytest
import torch

from esper_blueprint_bottleneck.config import BottleneckConfig
from esper_blueprint_bottleneck.module import Bottleneck
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize(("ratio", "inner"), [(0.5, 4), (0.25, 2), (0.01, 1), (1, 8)])
def test_ratio_sets_the_inner_channels(ratio: float, inner: int) -> None:
    seed = Bottleneck(SITE, BottleneckConfig(ratio=ratio))
    assert seed.body[2][0].weight.shape == (inner, inner, 3, 3)
    assert count(seed) == 2 * inner * 8 + 9 * inner**2 + 4 * inner + 2 * 8


@pytest.mark.parametrize("ratio", [0, -0.5, 1.5, float("nan")])
def test_refuses_a_ratio_that_is_no_share(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        BottleneckConfig(ratio=ratio)
