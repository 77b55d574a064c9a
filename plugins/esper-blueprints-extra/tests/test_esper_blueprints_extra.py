"""What is special about each blueprint, held against slow and obvious references."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprints_extra import config, convolutions, image_attention, perceptrons, temporal_conv
from esper_core.api import EsperError, Layout, Site

IMAGE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 9, 9))
VECTOR = Site(id="layer1", path="layers.1", layout=Layout.BD, width=6, sample_shape=(6,))


def sequence(*, causal: bool = True) -> Site:
    return Site(id="layer1", path="layers.1", layout=Layout.BTD, width=6, sample_shape=(7, 6), causal=causal)


def count(seed: nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


def awake(seed: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        seed.gain.gain.normal_()
    return seed


def scaled(seed: nn.Module, y: Tensor, h: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The bounded gain times the magnitude of h, written out."""
    gain = seed.gain.gain / (1 + seed.gain.gain**2) ** 0.5
    shape = (-1, 1, 1) if h.ndim == 4 else (-1,)
    return y * gain.view(shape) * h.square().mean(axes, keepdim=True).sqrt()


def standard(x: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()


# Convolutions.


@pytest.mark.parametrize(("width", "asked", "groups"), [(8, 4, 4), (12, 5, 4), (7, 4, 1), (7, 7, 7), (2, 64, 2)])
def test_groups_are_the_largest_divisor(width: int, asked: int, groups: int) -> None:
    site = Site(id="a", path="a", layout=Layout.NCHW, width=width, sample_shape=(width, 5, 5))
    seed = convolutions.GroupedConv(site, config.GroupedConvConfig(groups=asked))
    assert seed.body[0][0].groups == groups


@pytest.mark.parametrize(("dilation", "reach"), [(1, 1), (2, 2), (3, 3)])
def test_dilation_is_how_far_a_position_sees(dilation: int, reach: int) -> None:
    seed = convolutions.DilatedConv(IMAGE, config.DilatedConvConfig(dilation=dilation))
    seen = torch.zeros(1, 8, 9, 9, requires_grad=True)
    seed.body[0][0](seen)[0, :, 4, 4].sum().backward()
    assert seen.grad is not None
    rows = seen.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
    assert rows == [4 - reach, 4, 4 + reach]


def test_a_dynamic_kernel_is_the_mixture_of_kernels() -> None:
    seed, h = convolutions.MixedConv(8, 3, 4), torch.randn(3, 8, 9, 9)
    shares = seed.router(standard(h, (1, 2, 3)).mean(dim=(2, 3))).softmax(-1)
    kernels = seed.convs.weight.view(4, 8, 8, 3, 3)
    mixed = torch.stack(
        [
            F.conv2d(image[None], (share.view(4, 1, 1, 1, 1) * kernels).sum(0), padding=1)[0]
            for image, share in zip(h, shares, strict=True)
        ]
    )
    torch.testing.assert_close(seed(h), seed.norm(mixed), atol=1e-5, rtol=1e-4)


def test_every_layer_of_a_dense_block_sees_all_before_it() -> None:
    seed = convolutions.DenseBlock(IMAGE, config.DenseBlockConfig(growth=3, layers=4))
    assert [layer.layer[0][0].in_channels for layer in [*seed.body][:-1]] == [8, 11, 14, 17]
    assert seed.body[-1][0].in_channels == 20


def test_a_grid_of_one_cell_shows_only_means() -> None:
    pooled, h = convolutions.Pooled(8, 1), torch.randn(2, 8, 9, 9)
    means = h.mean(dim=(2, 3), keepdim=True).expand(h.shape)
    torch.testing.assert_close(pooled(h), pooled.mixes[0](means))


def test_finer_grids_show_where() -> None:
    pooled, h = convolutions.Pooled(8, 2), torch.randn(1, 8, 4, 4)
    quarter = pooled.mixes[1](h[:, :, :2, 2:].mean(dim=(2, 3), keepdim=True))
    whole = pooled.mixes[0](h.mean(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(pooled(h)[:, :, :2, 2:], (quarter + whole).expand(1, 8, 2, 2))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2)])
@pytest.mark.parametrize("name", ["PyramidPooling", "DynamicConv", "LargeKernel"])
def test_images_may_be_small(name: str, size: tuple[int, int]) -> None:
    seed = getattr(convolutions, name)(IMAGE, getattr(config, f"{name}Config")())
    assert awake(seed)(torch.randn(2, 8, *size)).shape == (2, 8, *size)


# Images.


def test_channels_are_gated_by_their_neighbours() -> None:
    seed = image_attention.ChannelAttention(IMAGE, config.ChannelAttentionConfig())
    assert count(seed) == 4
    with torch.no_grad():
        seed.logits.weight.copy_(torch.tensor([[[0.0, 0.0, 1.0]]]))
    h = torch.randn(2, 8, 5, 5)
    z = F.pad(h.mean(dim=(2, 3)), (0, 1))[:, 1:]  # the next channel's mean; behind the last one there is none
    gate = z / (1 + z**2) ** 0.5
    torch.testing.assert_close(seed(h), h * gate[:, :, None, None])


def test_positions_are_gated_as_a_whole() -> None:
    seed = image_attention.SpatialAttention(IMAGE, config.SpatialAttentionConfig(kernel=3))
    assert count(seed) == 2 * 3**2 + 1
    nn.init.normal_(seed.logits.weight)
    h = torch.randn(2, 8, 5, 5)
    factor = seed(h) / h
    torch.testing.assert_close(factor, factor[:, :1].expand(h.shape), atol=1e-4, rtol=1e-3)
    assert factor.abs().max() < 1


@pytest.mark.parametrize("pool", [1, 2])
def test_non_local_equals_attention_written_out(pool: int) -> None:
    seed = awake(image_attention.NonLocal(IMAGE, config.NonLocalConfig(pool=pool)))
    h = torch.randn(2, 8, 4, 4)
    x = standard(h, (1, 2, 3))
    places = x.reshape(2, 8, 4 // pool, pool, 4 // pool, pool).mean(dim=(3, 5))
    query, key, value = seed.query(x).flatten(2), seed.key(places).flatten(2), seed.value(places).flatten(2)
    gathered = torch.zeros(2, 8, 16)
    for b in range(2):
        for position in range(16):
            weights = (key[b].T @ query[b, :, position] / 4**0.5).softmax(0)
            gathered[b, :, position] = value[b] @ weights
    y = standard(gathered.view(2, 8, 4, 4), (1, 2, 3))
    torch.testing.assert_close(seed(h), scaled(seed, y, h, (1, 2, 3)), atol=1e-5, rtol=1e-4)


# Perceptrons.


def test_a_gated_perceptron_written_out() -> None:
    seed = awake(perceptrons.GatedMlp(VECTOR, config.GatedMlpConfig()))
    h = torch.randn(5, 6)
    x = standard(h)
    y = seed.down(torch.sigmoid(seed.gate(x)) * seed.gate(x) * seed.up(x))
    torch.testing.assert_close(seed(h), scaled(seed, standard(y), h, (-1,)), atol=1e-5, rtol=1e-4)


def test_a_mixture_is_the_weighted_sum_of_its_experts() -> None:
    seed = perceptrons.MixtureOfExperts(VECTOR, config.MixtureOfExpertsConfig(experts=3, expansion=2))
    x = torch.randn(5, 6)
    shares = seed.router(x).softmax(-1)
    total = seed.down.bias.expand(5, 6)
    for expert in range(3):
        part = slice(12 * expert, 12 * (expert + 1))
        hidden = F.gelu(x @ seed.up.weight[part].T + seed.up.bias[part])
        total = total + shares[:, expert, None] * (hidden @ seed.down.weight[:, part].T)
    torch.testing.assert_close(seed.body(x), total)


def test_a_highway_goes_at_most_half_of_the_way() -> None:
    seed = perceptrons.Highway(VECTOR, config.HighwayConfig(bias=3.0))
    with torch.no_grad():
        seed.gain.gain.fill_(1e6)
        seed.gate.weight.zero_()
        seed.gate.bias.fill_(50.0)
    h = torch.randn(5, 6)
    size = h.square().mean(-1, keepdim=True).sqrt()
    new = standard(F.gelu(seed.layer(standard(h)))) * size
    torch.testing.assert_close(seed(h), (new - h) / 2, atol=1e-4, rtol=1e-4)


def test_memory_reads_what_its_keys_select() -> None:
    seed = perceptrons.Memory(VECTOR, config.MemoryConfig(slots=5))
    assert count(seed) == 5 * 6 + 5 * 6 + 6 + 6
    with torch.no_grad():
        seed.keys.weight.zero_()
        seed.keys.weight[3, 0] = 1000.0
    read = seed.body(torch.tensor([[1.0, 0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0, 0]]))
    torch.testing.assert_close(read[0], seed.values.weight[:, 3] + seed.values.bias)
    others = [0, 1, 2, 4]
    torch.testing.assert_close(read[1], seed.values.weight[:, others].mean(1) + seed.values.bias)


def test_one_perceptron_is_applied_again() -> None:
    seed = perceptrons.RecursiveMlp(VECTOR, config.RecursiveMlpConfig(depth=2))
    assert count(seed) == count(perceptrons.RecursiveMlp(VECTOR, config.RecursiveMlpConfig(depth=5)))
    x = torch.randn(4, 6)
    first = seed.step(standard(x)) / 2
    torch.testing.assert_close(seed.body(x), first + seed.step(standard(x + first)) / 2)


@pytest.mark.parametrize("name", ["GatedMlp", "MixtureOfExperts", "Highway", "Memory", "RecursiveMlp"])
def test_a_single_feature_is_refused(name: str) -> None:
    site = Site(id="thin", path="layers.1", layout=Layout.BD, width=1, sample_shape=(1,))
    with pytest.raises(EsperError) as refused:
        getattr(perceptrons, name)(site, getattr(config, f"{name}Config")())
    assert refused.value.code == "E404"


# Sequences.


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_filter_along_the_sequence_written_out(causal: bool, dilation: int) -> None:
    options = config.TemporalConvConfig(kernel=3, dilation=dilation)
    seed = awake(temporal_conv.TemporalConv(sequence(causal=causal), options))
    h = torch.randn(2, 7, 6)
    x = standard(h)
    filtered = torch.zeros_like(x)
    for t in range(7):
        for tap in range(3):
            seen = t + (tap - 2 if causal else tap - 1) * dilation
            if 0 <= seen < 7:
                filtered[:, t] += x[:, seen] * seed.filter.weight[:, 0, tap]
    y = standard(seed.mix(F.gelu(filtered + seed.filter.bias)))
    torch.testing.assert_close(seed(h), scaled(seed, y, h, (-1,)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_not_seen(causal: bool) -> None:
    seed = awake(temporal_conv.TemporalConv(sequence(causal=causal), config.TemporalConvConfig()))
    h = torch.randn(1, 7, 6)
    mask = torch.tensor([[True, True, True, True, True, False, False]])
    torch.testing.assert_close(seed(h, mask)[:, :5], seed(h[:, :5]))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (config.GroupedConvConfig, "kernel"),
        (config.DilatedConvConfig, "kernel"),
        (config.DynamicConvConfig, "kernel"),
        (config.LargeKernelConfig, "kernel"),
        (config.ChannelAttentionConfig, "kernel"),
        (config.SpatialAttentionConfig, "kernel"),
        (config.TemporalConvConfig, "kernel"),
    ],
)
@pytest.mark.parametrize("value", [0, 2, -1, 3.0])
def test_kernels_are_odd(options: type, field: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=field):
        options(**{field: value})
