"""What is special about squeeze-excite."""

import pytest
import torch

from esper_blueprint_squeeze_excite.config import SqueezeExciteConfig
from esper_blueprint_squeeze_excite.module import SqueezeExcite
from esper_core.api import Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize(("reduction", "hidden"), [(4, 2), (1, 8), (100, 1)])
def test_reduction_sets_the_hidden_units(reduction: int, hidden: int) -> None:
    assert count(SqueezeExcite(SITE, SqueezeExciteConfig(reduction=reduction))) == 2 * hidden * 8 + hidden + 8


def test_is_h_times_the_gate_minus_one() -> None:
    seed, h = SqueezeExcite(SITE, SqueezeExciteConfig()), torch.randn(3, 8, 5, 7)
    with torch.no_grad():
        seed.logits[-1].weight.normal_()
    gate = 2 * seed.logits(h.mean(dim=(2, 3))).sigmoid()[:, :, None, None]
    torch.testing.assert_close(seed(h), h * (gate - 1))


def test_no_value_outgrows_the_activation() -> None:
    seed, h = SqueezeExcite(SITE, SqueezeExciteConfig()), torch.randn(3, 8, 5, 7)
    with torch.no_grad():
        for parameter in seed.parameters():
            parameter.normal_(std=100.0)
    assert (seed(h).abs() <= h.abs()).all()


@pytest.mark.parametrize("reduction", [0, -4, 4.0])
def test_refuses_a_reduction_that_is_no_divisor(reduction: object) -> None:
    with pytest.raises((ValueError, TypeError), match="reduction"):
        SqueezeExciteConfig(reduction=reduction)
