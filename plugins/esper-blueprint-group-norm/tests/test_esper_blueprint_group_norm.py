"""What is special about group-norm."""

import pytest
import torch

from esper_blueprint_group_norm.config import GroupNormConfig
from esper_blueprint_group_norm.module import GroupNormUpdate
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def bounded(gain: float | torch.Tensor) -> float | torch.Tensor:
    return gain / (1 + gain**2) ** 0.5


def test_is_the_normalised_activation_at_its_old_size_times_the_gain() -> None:
    seed, h = GroupNormUpdate(SITE, GroupNormConfig(groups=4)), 5 * torch.randn(3, 8, 6, 6) + 1
    with torch.no_grad():
        seed.gain.gain.fill_(0.5)
    groups = h.view(3, 4, -1)
    normalised = (groups - groups.mean(-1, keepdim=True)) / groups.std(-1, correction=0, keepdim=True)
    rms = h.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    expected = bounded(0.5) * rms * normalised.view_as(h)
    torch.testing.assert_close(seed(h), expected, atol=1e-4, rtol=1e-4)


def test_gradient_reaches_the_gain_where_a_channels_last_input_needs_none() -> None:
    """The case in which torch's own GroupNorm backward would end the process."""
    seed = GroupNormUpdate(SITE, GroupNormConfig())
    seed(torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)).square().sum().backward()
    seed(torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)).sum().backward()
    assert seed.gain.gain.grad is not None
    assert seed.gain.gain.grad.any()


def test_refuses_groups_that_do_not_divide_the_width() -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        GroupNormUpdate(SITE, GroupNormConfig(groups=3))
    assert error.value.code == "E404"
    assert 'blueprint "group-norm"' in str(error.value)
    assert 'site "block1"' in str(error.value)
    assert "`groups` is 3" in str(error.value)
    assert "such as 2" in str(error.value)


def test_refuses_no_groups() -> None:
    with pytest.raises(ValueError, match="groups"):
        GroupNormConfig(groups=0)
