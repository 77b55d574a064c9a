"""Tests of coordinate attention. The conformance suite tests that it is a correct blueprint."""

import pytest
import torch
from esper_core.api import Layout, Site
from torch import Tensor

from esper_blueprint_example.config import CoordinateAttentionConfig
from esper_blueprint_example.module import CoordinateAttention

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def build(**options: int) -> CoordinateAttention:
    torch.manual_seed(0)
    return CoordinateAttention(SITE, CoordinateAttentionConfig(**options))


def loss_after_training(seed: CoordinateAttention, h: Tensor, wanted: Tensor) -> float:
    """Train the seed to give an update, and return how much of it is missing, as a share."""
    optimizer = torch.optim.AdamW(seed.parameters(), lr=0.05)
    for _ in range(100):
        loss: Tensor = (seed(h) - wanted).square().mean() / wanted.square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return loss.item()


def test_it_learns_to_dim_the_bright_rows() -> None:
    """What a gate per image and channel cannot: rows of the same image are treated differently."""
    generator = torch.Generator().manual_seed(1)
    bright = torch.randint(2, (32, 1, 6, 1), generator=generator).float()
    h = torch.randn(32, 8, 6, 6, generator=generator) + 2 * bright
    assert loss_after_training(build(reduction=1), h, wanted=-0.5 * bright * h) < 0.02


def test_the_gate_is_one_of_rows_plus_one_of_columns() -> None:
    seed, h = build(), torch.randn(3, 8, 5, 7)
    with torch.no_grad():
        for parameter in seed.parameters():
            parameter.normal_()
        rows = seed.rows(torch.nn.functional.silu(seed.squeeze(h.mean(3, keepdim=True))))
        columns = seed.columns(torch.nn.functional.silu(seed.squeeze(h.mean(2, keepdim=True))))
        torch.testing.assert_close(seed(h), h * (2 * torch.sigmoid(rows + columns) - 1))


def test_no_value_outgrows_the_activation() -> None:
    seed, h = build(), torch.randn(3, 8, 5, 7)
    with torch.no_grad():
        for parameter in seed.parameters():
            parameter.normal_(std=100.0)
    assert bool((seed(h).abs() <= h.abs()).all())


@pytest.mark.parametrize(("reduction", "hidden"), [(1, 8), (4, 2), (100, 1)])
def test_parameters_follow_the_formula(reduction: int, hidden: int) -> None:
    count = sum(parameter.numel() for parameter in build(reduction=reduction).parameters())
    assert count == 3 * 8 * hidden + hidden + 8


def test_a_reduction_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction"):
        CoordinateAttentionConfig(reduction=0)
