"""What is special about layer-norm."""

import pytest
import torch

from esper_blueprint_layer_norm.module import LayerNormUpdate
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), causal=True)


def bounded(gain: float | torch.Tensor) -> float | torch.Tensor:
    return gain / (1 + gain**2) ** 0.5


def test_is_the_normalised_position_at_its_old_size_times_the_gain() -> None:
    seed, h = LayerNormUpdate(SITE), 5 * torch.randn(3, 6, 12) + 1
    with torch.no_grad():
        seed.gain.gain.fill_(0.5)
    normalised = (h - h.mean(-1, keepdim=True)) / h.std(-1, correction=0, keepdim=True)
    expected = bounded(0.5) * h.square().mean(-1, keepdim=True).sqrt() * normalised
    torch.testing.assert_close(seed(h), expected, atol=1e-4, rtol=1e-4)


def test_refuses_a_single_feature() -> None:
    site = Site(id="thin", path="layers.1", layout=Layout.BTD, width=1, sample_shape=(6, 1))
    with pytest.raises(EsperError, match="cannot be built") as error:
        LayerNormUpdate(site)
    assert error.value.code == "E404"
    assert 'blueprint "layer-norm"' in str(error.value)
    assert 'site "thin"' in str(error.value)
