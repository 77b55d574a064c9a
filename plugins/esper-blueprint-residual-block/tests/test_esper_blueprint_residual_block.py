"""What is special about residual-block."""

import pytest
import torch
from torch import nn

from esper_blueprint_residual_block.config import ResidualBlockConfig
from esper_blueprint_residual_block.module import ResidualBlock
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def seed(module: nn.Module | None = None, **options: object) -> ResidualBlock:
    torch.manual_seed(0)
    return ResidualBlock(SITE, ResidualBlockConfig(**options), module or nn.Identity())


@pytest.mark.parametrize(
    ("module", "side"),
    [(nn.Identity(), 3), (nn.Conv2d(8, 8, 5), 5), (nn.Conv2d(8, 8, 1), 3), (nn.Conv2d(8, 8, (7, 3)), 3)],
)
def test_takes_the_kernel_of_the_sites_own_convolution(module: nn.Module, side: int) -> None:
    assert seed(module).last.kernel_size == (side, side)
    assert seed(module, kernel=1).last.kernel_size == (1, 1)


@pytest.mark.parametrize(("expansion", "kernel"), [(1, 3), (2, 5)])
def test_parameters_follow_the_formula(expansion: int, kernel: int) -> None:
    count = sum(p.numel() for p in seed(expansion=expansion, kernel=kernel).parameters())
    assert count == 2 * expansion * kernel**2 * 8**2 + (2 * expansion + 1) * 8


def test_a_small_update_is_what_the_layers_compute() -> None:
    grown = seed()
    with torch.no_grad():
        grown.last.weight.normal_(std=1e-4)
    h = torch.randn(3, 8, 6, 6)
    torch.testing.assert_close(grown(h), grown.last(grown.body(h)), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("options", [{"kernel": 2}, {"kernel": 0}, {"expansion": 0}, {"limit": 0.0}])
def test_refuses_options_without_meaning(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        ResidualBlockConfig(**options)
