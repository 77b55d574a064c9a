"""What is special about copy."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_copy.config import CopyConfig
from esper_blueprint_copy.module import Copy
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12))
IMAGE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


class Branch(nn.Module):
    """A residual block of images whose branch ends in a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


def layer(**options: object) -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(12, 3, 30, dropout=0.0, batch_first=True, **options).eval()


def copied(module: nn.Module, site: Site = SITE, **options: float) -> Copy:
    return Copy(site, CopyConfig(**options), module)


def test_zeroes_what_writes_to_the_stream_and_nothing_else() -> None:
    seed, original = copied(layer(norm_first=True)), layer(norm_first=True)
    assert seed.zeroed == ("self_attn", "linear2") or seed.zeroed == ("self_attn.out_proj", "linear2")
    torch.testing.assert_close(seed.block.linear1.weight, original.linear1.weight)
    assert not seed.block.linear2.weight.any()


def test_zeroes_the_last_normalisation_of_a_branch() -> None:
    module = Branch()
    kept = module.conv.weight.detach().clone()
    seed = copied(module, IMAGE)
    assert seed.zeroed == ("norm",)
    torch.testing.assert_close(seed.block.conv.weight, kept)


def test_with_its_projections_back_it_is_the_block_behind_itself() -> None:
    module, original = Branch(), None
    original = Branch()
    original.load_state_dict(module.state_dict())
    seed = copied(module, IMAGE, limit=1e6)
    seed.block.load_state_dict(original.state_dict())
    h = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(h + seed(h), original(h), rtol=1e-4, atol=1e-5)


def test_what_is_no_residual_block_gets_a_gain() -> None:
    module = layer(norm_first=False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    seed = copied(module)
    assert seed.zeroed == ()
    assert all(torch.equal(value, before[name]) for name, value in seed.block.state_dict().items())
    h = torch.randn(2, 6, 12)
    assert not seed(h).any()
    seed(h).backward(torch.randn(2, 6, 12))
    assert seed.gain is not None
    assert seed.gain.grad.any()


def test_a_frozen_original_gives_a_copy_that_learns() -> None:
    assert all(p.requires_grad for p in copied(layer(norm_first=True).requires_grad_(False)).parameters())


def test_rebuilt_from_a_host_with_other_weights_it_takes_the_same_tensors() -> None:
    seed = copied(layer(norm_first=True))
    torch.manual_seed(1)
    other = copied(nn.TransformerEncoderLayer(12, 3, 30, dropout=0.0, batch_first=True, norm_first=True))
    other.load_state_dict(seed.state_dict())
    h = torch.randn(2, 6, 12)
    torch.testing.assert_close(other.eval()(h), seed.eval()(h))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 12)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return F.relu(self.linear(x)) + memory


@pytest.mark.parametrize(
    ("module", "site", "why"),
    [
        (nn.Linear(12, 7), SITE, "it makes"),
        (nn.Linear(7, 12), SITE, "it raised"),
        (Pair(), SITE, "memory"),
        (nn.GELU(), SITE, "no parameters"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), IMAGE, "running statistics"),
    ],
)
def test_refuses_what_cannot_stand_behind_itself(module: nn.Module, site: Site, why: str) -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        copied(module, site)
    assert error.value.code == "E404"
    assert why in str(error.value)


def test_refuses_a_site_that_is_told_what_is_padding() -> None:
    site = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), mask="mask")
    with pytest.raises(EsperError, match="cannot be built") as error:
        copied(layer(norm_first=True), site)
    assert "padding" in str(error.value)
