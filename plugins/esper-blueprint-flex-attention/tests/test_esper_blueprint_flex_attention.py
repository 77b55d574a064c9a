"""What is special about flex-attention. PyTorch cannot train it on a CPU; its values are checked there."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from esper_blueprint_flex_attention import availability
from esper_blueprint_flex_attention.config import FlexAttentionConfig
from esper_blueprint_flex_attention.module import FlexAttention
from esper_blueprint_flex_attention.plugin import esper_blueprints
from esper_core.api import EsperError, Layout, Site
from esper_core.specs import Capability


def site(width: int = 12, *, causal: bool = True) -> Site:
    return Site(id="layer1", path="layers.1", layout=Layout.BTD, width=width, sample_shape=(6, width), causal=causal)


def dense(seed: FlexAttention, h: Tensor, visible: Tensor) -> Tensor:
    """The same update through dense attention with an explicit mask, (T, T)."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)

    return seed.gain(seed.norm_out(seed.attention(seed.norm_in(h), attend)), h)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3])
def test_equals_dense_attention_with_the_same_mask(causal: bool, window: int | None) -> None:
    torch.manual_seed(0)
    seed, h = FlexAttention(site(causal=causal), FlexAttentionConfig(window=window)), torch.randn(2, 6, 12)
    distance = torch.arange(6)[:, None] - torch.arange(6)[None, :]
    visible = (distance >= 0) if causal else torch.ones(6, 6, dtype=torch.bool)
    if window is not None:
        visible &= distance.abs() < window
    with torch.no_grad():
        seed.gain.gain.normal_()
        torch.testing.assert_close(seed(h), dense(seed, h, visible), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_padding_is_not_seen(causal: bool, window: int | None) -> None:
    torch.manual_seed(0)
    seed, h = FlexAttention(site(causal=causal), FlexAttentionConfig(window=window)), torch.randn(3, 6, 12)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    other = torch.where(mask.unsqueeze(-1), h, 9.0)
    distance = torch.arange(6)[:, None] - torch.arange(6)[None, :]
    visible = (distance >= 0) if causal else torch.ones(6, 6, dtype=torch.bool)
    if window is not None:
        visible = visible & (distance.abs() < window)
    with torch.no_grad():
        seed.gain.gain.normal_()
        delta = seed(h, mask)
        seen = (visible & mask[:, None, :]) | torch.eye(6, dtype=torch.bool)
        torch.testing.assert_close(delta, dense(seed, h, seen[:, None]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(seed(other, mask)[mask], delta[mask], atol=1e-5, rtol=1e-5)


def test_is_listed_with_the_reason_where_it_cannot_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "_torch_version", lambda: "2.13.0+cpu")
    monkeypatch.setattr(availability.sys, "platform", "win32")
    assert "CPU build" in str(availability.unavailable())
    monkeypatch.setattr(availability, "_torch_version", lambda: "2.13.0")
    monkeypatch.setattr(availability.sys, "platform", "darwin")
    assert "MPS" in str(availability.unavailable())
    monkeypatch.setattr(availability.sys, "platform", "linux")
    monkeypatch.setattr(availability, "ACCELERATORS", ())
    assert "no accelerator" in str(availability.unavailable())
    (spec,) = esper_blueprints()
    assert spec.name == "flex-attention"
    assert Capability.NO_EXPORT in spec.capabilities


def test_is_available_where_there_is_an_accelerator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(availability, "_torch_version", lambda: "2.13.0")
    monkeypatch.setattr(availability.sys, "platform", "linux")
    monkeypatch.setattr(availability, "ACCELERATORS", (str(tmp_path),))
    assert availability.unavailable() is None


def test_never_falls_back_silently() -> None:
    """Where FlexAttention cannot train, torch says so; no other attention takes its place."""
    with pytest.raises(NotImplementedError, match="backward on CPU"):
        FlexAttention(site(), FlexAttentionConfig())(torch.randn(2, 6, 12))


@pytest.mark.parametrize(("width", "heads", "why"), [(12, 5, "`heads` is 5"), (1, 1, "a single one")])
def test_refuses_sites_that_it_cannot_serve(width: int, heads: int, why: str) -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        FlexAttention(site(width), FlexAttentionConfig(heads=heads))
    assert error.value.code == "E404"
    assert why in str(error.value)


@pytest.mark.parametrize("options", [{"heads": 0}, {"window": 0}, {"window": 1.5}])
def test_refuses_options_without_meaning(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        FlexAttentionConfig(**options)
