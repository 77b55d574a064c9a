"""What is special about lora."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from esper_blueprint_lora.config import LoraConfig
from esper_blueprint_lora.module import Lora
from esper_core.api import Layout, Site


def site(width: int = 12) -> Site:
    return Site(id="layer1", path="layers.1", layout=Layout.BTD, width=width, sample_shape=(6, width))


def drawn(seed: int, scale: float, *, width: int = 12, rank: int = 4, limit: float = 1.0) -> Lora:
    torch.manual_seed(seed)
    lora = Lora(site(width), LoraConfig(rank=rank, limit=limit))
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.normal_(std=scale)
    return lora


def test_parameters_follow_the_formula() -> None:
    assert sum(p.numel() for p in Lora(site(), LoraConfig(rank=3)).parameters()) == 2 * 3 * 12


def test_a_narrow_site_limits_the_rank() -> None:
    assert Lora(site(5), LoraConfig(rank=8)).down.weight.shape == (5, 5)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(1e-3, 1e3),
    rank=st.integers(1, 12),
    limit=st.floats(0.01, 10.0),
)
def test_the_norm_stays_within_the_limit_and_is_used_well(seed: int, scale: float, rank: int, limit: float) -> None:
    lora = drawn(seed, scale, rank=rank, limit=limit)
    norm = torch.linalg.matrix_norm(lora.matrix(), ord=2).item()
    free = torch.linalg.matrix_norm(lora.up.weight @ lora.down.weight, ord=2).item()
    assert norm <= 1.001 * limit
    assert norm >= 0.999 * min(free, limit / rank**0.125)


def test_small_updates_are_left_alone() -> None:
    lora, h = drawn(0, 0.01), torch.randn(2, 6, 12)
    torch.testing.assert_close(lora(h), lora.up(lora.down(h)))


def test_merges_into_the_linear_layer_in_front_of_it() -> None:
    lora, linear, x = drawn(1, 1.0), nn.Linear(7, 12), torch.randn(2, 6, 7)
    h = linear(x)
    matrix = lora.matrix()
    merged = nn.functional.linear(x, linear.weight + matrix @ linear.weight, linear.bias + matrix @ linear.bias)
    torch.testing.assert_close(h + lora(h), merged, atol=1e-5, rtol=1e-5)


def test_the_limit_holds_under_autocast() -> None:
    lora, h = drawn(2, 3.0), torch.randn(2, 6, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        delta = lora(h)
    assert (delta.norm(dim=-1) <= 1.02 * h.norm(dim=-1)).all()


@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": 2.0}, {"limit": 0}, {"limit": float("inf")}])
def test_refuses_options_without_meaning(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        LoraConfig(**options)
