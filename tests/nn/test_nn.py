"""The helpers that blueprints are made of."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from esper_core.api import EsperError, Layout, Site
from esper_core.nn import (
    BoundedGain,
    SelfAttention,
    conv_norm,
    full_precision,
    group_count,
    real_positions,
    require_divisor,
    require_features,
)

SHAPES = {Layout.NCHW: (3, 6, 5, 4), Layout.BTD: (3, 5, 6), Layout.BD: (3, 6)}


def site(width: int) -> Site:
    return Site(id="block1", path="blocks.1", layout=Layout.BTD, width=width, sample_shape=(5, width))


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(Layout),
    gains=st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)
def test_a_bounded_update_never_outgrows_the_activation(
    layout: Layout, gains: list[float], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(SHAPES[layout], generator=generator)
    y = torch.randn(SHAPES[layout], generator=generator)
    y = F.group_norm(y, 2) if layout is Layout.NCHW else F.layer_norm(y, (6,))
    tail = BoundedGain(6, layout)
    with torch.no_grad():
        tail.gain.copy_(torch.tensor(gains))
    axes = (1, 2, 3) if layout is Layout.NCHW else -1
    update, limit = tail(y, h).square().mean(axes).sqrt(), h.square().mean(axes).sqrt()
    assert (update <= 1.0001 * limit).all()


@pytest.mark.parametrize("layout", Layout)
def test_a_bounded_gain_is_zero_at_birth_and_never_stuck(layout: Layout) -> None:
    y, h = torch.randn(SHAPES[layout]), torch.randn(SHAPES[layout])
    tail = BoundedGain(6, layout)
    assert torch.equal(tail(y, h), torch.zeros_like(h))
    for gain in (0.0, 10.0, -1e3):
        torch.nn.init.constant_(tail.gain, gain)
        (slope,) = torch.autograd.grad((tail(y, h) * y).sum(), tail.gain)
        assert (slope > 0).all()


def test_a_bounded_gain_has_finite_gradients_at_zero_activation() -> None:
    tail, h = BoundedGain(6, Layout.BTD), torch.zeros(3, 5, 6, requires_grad=True)
    torch.nn.init.ones_(tail.gain)
    tail(torch.randn(3, 5, 6), h).sum().backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()


@given(channels=st.integers(1, 512))
def test_group_count_divides_the_channels(channels: int) -> None:
    groups = group_count(channels)
    assert channels % groups == 0
    assert groups <= 2 or channels // groups >= 16
    assert channels == 1 or channels // groups >= 2


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 2), (5, 3), (1, 4)])
def test_conv_norm_keeps_height_and_width_whatever_its_dilation(kernel: int, dilation: int) -> None:
    x = torch.randn(2, 4, 9, 7)
    block = conv_norm(4, 8, kernel, dilation=dilation)
    assert block(x).shape == (2, 8, 9, 7)
    assert block[0].dilation == (dilation, dilation)


def test_conv_norm_ends_without_parameters_in_the_normalisation_if_last() -> None:
    inner, last = conv_norm(4, 8), conv_norm(4, 8, 5, last=True)
    assert inner(torch.randn(2, 4, 6, 7)).shape == last(torch.randn(2, 4, 6, 7)).shape == (2, 8, 6, 7)
    assert [name for name, _ in inner.named_parameters()] == ["0.weight", "1.weight", "1.bias"]
    assert [name for name, _ in last.named_parameters()] == ["0.weight", "0.bias"]


def test_self_attention_equals_torch() -> None:
    ours, x = SelfAttention(12, 3), torch.randn(2, 5, 12)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project_in.weight,
            "in_proj_bias": ours.project_in.bias,
            "out_proj.weight": ours.project_out.weight,
            "out_proj.bias": ours.project_out.bias,
        }
    )
    expected, _ = theirs(x, x, x, need_weights=False)
    torch.testing.assert_close(ours(x, F.scaled_dot_product_attention), expected, atol=1e-5, rtol=1e-5)


def test_full_precision_holds_autocast_off_and_knows_meta() -> None:
    x = torch.randn(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32
    with full_precision(torch.device("meta")):
        assert (x.to("meta") @ x.to("meta")).shape == (3, 3)


@pytest.mark.parametrize(("width", "value", "near"), [(12, 5, "such as 4"), (7, 4, "such as 1"), (8, 16, "such as 8")])
def test_an_option_that_does_not_divide_the_width_is_refused_with_one_that_does(
    width: int, value: int, near: str
) -> None:
    with pytest.raises(EsperError, match="cannot be built") as error:
        require_divisor("foo", site(width), "heads", value)
    assert error.value.code == "E404"
    assert all(part in str(error.value) for part in ('"foo"', '"block1"', "blocks.1", f"`heads` is {value}", near))


def test_dividing_options_and_several_features_are_accepted() -> None:
    require_divisor("foo", site(12), "heads", 4)
    require_features("foo", site(2))
    with pytest.raises(EsperError, match="cannot be built"):
        require_features("foo", site(1))


REAL = torch.tensor([[True, True, False], [True, False, False], [False, True, True]])
PAIRS = REAL[:, None, None, :].expand(3, 2, 3, 3)


@pytest.mark.parametrize(
    "mask",
    [
        REAL,
        REAL.int(),
        REAL.bfloat16(),
        (~REAL).bfloat16() * -10000,
        torch.zeros(3, 3).masked_fill(~REAL, float("-inf")),
        PAIRS,
        PAIRS[:, 0],
        PAIRS & torch.ones(3, 3, dtype=torch.bool).tril(),
        (~PAIRS).half() * torch.finfo(torch.float16).min,
        # A position's distance is added to the score, beside what hides.
        (~PAIRS) * -1e9 - torch.rand(3, 2, 3, 3),
    ],
)
def test_a_mask_says_the_same_in_any_form(mask: torch.Tensor) -> None:
    assert torch.equal(real_positions(mask, 3, 3), REAL)


def test_an_added_mask_that_hides_nothing_hides_nothing() -> None:
    assert real_positions(torch.zeros(1, 4), 3, 4).equal(torch.ones(3, 4, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 4), (6, 3, 3), (3, 1, 1, 4)])
def test_a_mask_of_another_batch_or_length_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit 3 samples of 3 positions"):
        real_positions(torch.ones(shape), 3, 3)
