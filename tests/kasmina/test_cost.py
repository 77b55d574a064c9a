"""Costs against formulas worked out by hand, on the meta device and where a module cannot run there."""

import pytest
import torch
from torch import Tensor, nn

from esper_core.api import EsperError, Layout, Site
from esper_core.kasmina.cost import count_flops, forward_flops, parameter_count, seed_cost
from esper_core.nn import SelfAttention, require_divisor

IMAGE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 5))
TEXT = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(7, 12), causal=True)


def convolution(site: Site) -> nn.Module:
    return nn.Conv2d(site.width, site.width, 3, padding=1)


class Attending(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        require_divisor("attending", site, "heads", 3)
        self.attention = SelfAttention(site.width, 3)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.attention(h, nn.functional.scaled_dot_product_attention)
        return out


def test_a_convolution() -> None:
    cost = seed_cost(convolution, IMAGE)
    assert cost.parameters == 9 * 8 * 8 + 8
    assert cost.forward_flops == 2 * 9 * 8 * 8 * 6 * 5


def test_attention_counts_scores_and_sums_in_full() -> None:
    cost = seed_cost(Attending, TEXT)
    assert cost.parameters == 4 * 12**2 + 4 * 12
    assert cost.forward_flops == 2 * 7 * (4 * 12**2) + 2 * 2 * 7 * 7 * 12


def test_normalisation_and_pointwise_work_count_as_nothing() -> None:
    pointwise = nn.Sequential(nn.GroupNorm(2, 8), nn.ReLU(), nn.AvgPool2d(2))
    assert forward_flops(pointwise, torch.randn(8, 6, 6)) == 0
    assert parameter_count(pointwise) == 16


def test_a_whole_network_of_tokens_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Embedding(11, 12), nn.Linear(12, 12), nn.Linear(12, 11, bias=False)).train()
    model[2].weight = model[0].weight
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert forward_flops(model, torch.zeros(7, dtype=torch.int64)) == 2 * 7 * (12 * 12 + 12 * 11)
    assert parameter_count(model) == 11 * 12 + 12 * 12 + 12
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counts_the_same_on_real_tensors() -> None:
    assert count_flops(Attending(TEXT), torch.randn(1, 7, 12)) == seed_cost(Attending, TEXT).forward_flops
    assert count_flops(convolution(IMAGE), torch.randn(4, 8, 6, 5)) == 4 * seed_cost(convolution, IMAGE).forward_flops


class Choosing(nn.Module):
    """Two layers for what is positive, one for anything else; meta tensors are neither."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(site.width, site.width), nn.Linear(site.width, site.width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, h: Tensor) -> Tensor:
        h = self.dropout(self.first(h))
        out: Tensor = self.second(h) if bool(h.sum() == h.sum()) else h
        return out


def test_a_seed_whose_control_flow_depends_on_values_is_counted_on_real_numbers() -> None:
    with pytest.raises(RuntimeError):
        Choosing(TEXT).to("meta")(torch.empty(1, 7, 12, device="meta"))
    before = torch.get_rng_state()
    cost = seed_cost(Choosing, TEXT)
    assert (cost.parameters, cost.forward_flops) == (2 * (12 * 12 + 12), 2 * 2 * 7 * 12 * 12)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_that_is_built_from_values_is_counted() -> None:
    def scaled(site: Site) -> nn.Module:
        linear = nn.Linear(site.width, site.width)
        linear.scale = float(linear.weight.abs().max())
        return linear

    assert seed_cost(scaled, TEXT).parameters == 12 * 12 + 12


def test_a_blueprint_that_raises_is_named() -> None:
    def broken(site: Site) -> nn.Module:
        raise ValueError("width must be 3")

    with pytest.raises(EsperError, match="width must be 3") as error:
        seed_cost(broken, TEXT)
    assert error.value.code == "E404"


def test_a_network_whose_control_flow_depends_on_values_is_counted_and_left_as_it_is() -> None:
    model = nn.Sequential(Choosing(TEXT), nn.BatchNorm1d(7)).train()
    sample = torch.randn(7, 12)
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    assert forward_flops(model, sample) == 2 * 2 * 7 * 12 * 12
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_what_cannot_be_run_has_no_cost() -> None:
    class Pairs(Choosing):
        def forward(self, h: Tensor) -> Tensor:
            if len(h) < 2:
                raise ValueError("give at least two samples")
            return super().forward(h)

    assert forward_flops(Pairs(TEXT), torch.randn(7, 12)) is None
    assert seed_cost(Pairs, TEXT).forward_flops is None


def test_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    seed_cost(convolution, IMAGE)
    assert torch.equal(torch.get_rng_state(), before)


def test_says_early_that_a_blueprint_does_not_fit() -> None:
    site = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=8, sample_shape=(7, 8))
    with pytest.raises(EsperError, match="cannot be built") as error:
        seed_cost(Attending, site)
    assert error.value.code == "E404"
