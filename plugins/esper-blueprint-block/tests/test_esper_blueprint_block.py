"""What is special about block."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_block.config import Activation, BlockConfig
from esper_blueprint_block.likeness import activation_of
from esper_blueprint_block.module import Block
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), causal=True)


def layer(**options: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(12, 3, 30, batch_first=True, norm_first=True, **options)


def awake(**options: object) -> Block:
    torch.manual_seed(0)
    seed = Block(SITE, BlockConfig(**options), nn.Identity())
    with torch.no_grad():
        for last in (seed.attention.project_out, seed.down):
            last.weight.normal_(std=0.3)
            last.bias.normal_(std=0.3)
    return seed


def test_is_made_like_the_sites_own_layer() -> None:
    seed = Block(SITE, BlockConfig(), layer())
    assert (seed.attention.heads, seed.up.out_features, type(seed.activation)) == (3, 30, nn.ReLU)


def test_options_come_before_the_sites_own_layer() -> None:
    seed = Block(SITE, BlockConfig(heads=2, expansion=3, activation="silu"), layer())
    assert (seed.attention.heads, seed.up.out_features, type(seed.activation)) == (2, 36, nn.SiLU)


def test_a_submodule_that_shows_nothing_leads_to_the_defaults() -> None:
    seed = Block(SITE, BlockConfig(), nn.Identity())
    assert (seed.attention.heads, seed.up.out_features, type(seed.activation)) == (4, 48, nn.GELU)


@pytest.mark.parametrize(
    ("module", "expected"),
    [(nn.SiLU(), Activation.SILU), (layer(activation=F.gelu), Activation.GELU), (nn.ReLU(), Activation.RELU)],
)
def test_finds_the_activation(module: nn.Module, expected: Activation) -> None:
    assert activation_of(module) is expected


def test_equals_a_pre_norm_layer_of_torch_where_the_update_is_small() -> None:
    seed = awake(activation="relu", heads=3, expansion=2, limit=1e6)
    theirs = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.0, batch_first=True, norm_first=True)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(seed.attention.project_in.weight)
        theirs.self_attn.in_proj_bias.copy_(seed.attention.project_in.bias)
        theirs.self_attn.out_proj.load_state_dict(seed.attention.project_out.state_dict())
        theirs.linear1.load_state_dict(seed.up.state_dict())
        theirs.linear2.load_state_dict(seed.down.state_dict())
    h = torch.randn(2, 6, 12)
    ahead = nn.Transformer.generate_square_subsequent_mask(6)
    torch.testing.assert_close(h + seed(h), theirs(h, src_mask=ahead, is_causal=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_the_update_stays_below_its_limit(limit: float) -> None:
    seed = awake(limit=limit)
    with torch.no_grad():
        seed.down.weight.mul_(1e3)
    h = torch.randn(2, 6, 12)
    ratio = seed(h).norm(dim=-1) / h.norm(dim=-1)
    assert ratio.max() <= limit * 1.0001
    assert ratio.min() > 0.99 * limit


@pytest.mark.parametrize("width", [1, 2])
def test_first_gradients_reach_both_output_projections(width: int) -> None:
    seed = Block(SITE, BlockConfig(heads=width), nn.Identity())
    seed(torch.randn(2, 6, 12)).backward(torch.randn(2, 6, 12))
    assert all(bool(last.weight.grad.any()) for last in (seed.attention.project_out, seed.down))


def test_parameters_follow_the_formula() -> None:
    hidden = 30
    count = sum(p.numel() for p in Block(SITE, BlockConfig(), layer()).parameters())
    assert count == 4 * 12**2 + 2 * 12 * hidden + 5 * 12 + hidden


def padded(seed: Block, h: Tensor) -> Tensor:
    mask = torch.tensor([[True, True, True, True, False, False], [True] * 6])
    return seed(h, mask)


def test_padding_is_not_seen() -> None:
    seed, h = awake(), torch.randn(2, 6, 12)
    torch.testing.assert_close(padded(seed, h)[0, :4], seed(h[:1, :4])[0])


def test_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        Block(SITE, BlockConfig(heads=5), nn.Identity())
    assert error.value.code == "E404"
    assert "`heads` is 5" in str(error.value)
