"""What is special about attention."""

import pytest
import torch
from torch import Tensor

from esper_blueprint_attention.config import AttentionConfig
from esper_blueprint_attention.module import Attention
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), causal=True)


def bounded(gain: float | torch.Tensor) -> float | torch.Tensor:
    return gain / (1 + gain**2) ** 0.5


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


def awake(*, causal: bool = True, heads: int = 4) -> Attention:
    torch.manual_seed(0)
    site = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), causal=causal)
    seed = Attention(site, AttentionConfig(heads=heads))
    with torch.no_grad():
        seed.gain.gain.normal_()
    return seed


def slow_attention(seed: Attention, h: Tensor) -> Tensor:
    """Head by head, position by position."""
    x = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    query, key, value = seed.attention.project_in(x).chunk(3, dim=-1)
    gathered = torch.zeros_like(h)
    size = 12 // seed.attention.heads
    for b in range(h.shape[0]):
        for head in range(seed.attention.heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(h.shape[1]):
                seen = slice(0, t + 1) if seed.causal else slice(None)
                weights = (key[b, seen, part] @ query[b, t, part] / size**0.5).softmax(dim=0)
                gathered[b, t, part] = weights @ value[b, seen, part]
    y = seed.attention.project_out(gathered)
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return y * bounded(seed.gain.gain) * h.square().mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_equals_attention_written_out(causal: bool, heads: int) -> None:
    seed, h = awake(causal=causal, heads=heads), torch.randn(2, 6, 12)
    torch.testing.assert_close(seed(h), slow_attention(seed, h), atol=1e-4, rtol=1e-4)


def test_parameters_follow_the_formula() -> None:
    assert count(Attention(SITE, AttentionConfig())) == 4 * 12**2 + 5 * 12


@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_not_seen(causal: bool) -> None:
    seed, h = awake(causal=causal), torch.randn(2, 6, 12)
    mask = torch.tensor([[True, True, True, True, False, False], [False, False, True, True, True, True]])
    delta = seed(h, mask)
    torch.testing.assert_close(delta[0, :4], seed(h[:1, :4])[0])
    torch.testing.assert_close(delta[1, 2:], seed(h[1:, 2:])[0])


def test_a_sample_of_nothing_but_padding_stays_finite() -> None:
    assert awake()(torch.randn(1, 6, 12), torch.zeros(1, 6, dtype=torch.bool)).isfinite().all()


def test_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        Attention(SITE, AttentionConfig(heads=5))
    assert error.value.code == "E404"
    assert 'blueprint "attention"' in str(error.value)
    assert 'site "layer1"' in str(error.value)
    assert "`heads` is 5" in str(error.value)
    assert "such as 4" in str(error.value)


def test_refuses_a_single_feature() -> None:
    site = Site(id="thin", path="layers.1", layout=Layout.BTD, width=1, sample_shape=(6, 1))
    with pytest.raises(EsperError, match="cannot be built") as error:
        Attention(site, AttentionConfig(heads=1))
    assert error.value.code == "E404"
    assert 'blueprint "attention"' in str(error.value)
    assert 'site "thin"' in str(error.value)
