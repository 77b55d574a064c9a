"""The host `cnn` through its descriptor, its options and its factory."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, HostBuild, TaskKind
from esper_core.specs import Capability, HostSpec, Layout
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig
from esper_host_cnn.plugin import esper_hosts


def images(channels: int = 1, height: int = 8, width: int = 8, outputs: int = 10) -> DataShape:
    return DataShape(kind=TaskKind.IMAGES, input_shape=(channels, height, width), outputs=outputs)


def built(data: DataShape | None = None, seed: int = 0, **options: object) -> HostBuild:
    torch.manual_seed(seed)
    return build(CnnConfig(**options), data or images())


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_descriptor_resolves_to_the_factory_and_its_options() -> None:
    (spec,) = esper_hosts()
    assert (spec.name, spec.kind, spec.layouts) == ("cnn", HostSpec.kind, {Layout.NCHW})
    assert spec.factory == f"{build.__module__}:{build.__qualname__}"
    assert spec.config == f"{CnnConfig.__module__}:{CnnConfig.__qualname__}"


def test_descriptor_and_options_import_no_torch() -> None:
    code = "import sys, esper_host_cnn.plugin, esper_host_cnn.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("widths", "expected"), [((4, 8), 438), ((8, 16), 1442), ((4, 8, 16), 1702)])
def test_parameter_counts(widths: tuple[int, ...], expected: int) -> None:
    assert parameter_count(built(widths=widths).module) == expected


def test_default_is_two_pooled_blocks_of_8_and_16() -> None:
    fired = fired_shapes(built(images(outputs=7)), torch.randn(2, 1, 8, 8))
    assert fired == [("block0", (2, 8, 4, 4)), ("block1", (2, 16, 2, 2))]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_agrees_with_the_network_written_out(norm: str) -> None:
    module = built(images(3, 13, 10), widths=(4, 8, 6), norm=norm, channels_last=False).module
    state, x = module.state_dict(), torch.randn(5, 3, 13, 10)
    y = x
    for index in range(3):
        weight, bias = state[f"blocks.{index}.norm.weight"], state[f"blocks.{index}.norm.bias"]
        y = F.conv2d(y, state[f"blocks.{index}.conv.weight"], padding=1)
        grouped = y.view(5, 2, -1) if norm == "group" else y.transpose(0, 1).reshape(1, y.shape[1], -1)
        scale = (grouped.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        grouped = (grouped - grouped.mean(-1, keepdim=True)) * scale
        y = grouped.view_as(y) if norm == "group" else grouped.view(y.shape[1], 5, *y.shape[2:]).transpose(0, 1)
        y = (y * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)).clamp(min=0)
        y = F.max_pool2d(y, 2) if index < 2 else y
    expected = y.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-4)


def test_state_dict_keys_are_stable() -> None:
    group, batch = built(widths=(4, 8)).module, built(widths=(4,), norm="batch").module
    blocks = [f"blocks.{i}.{name}" for i in range(2) for name in ("conv.weight", "norm.weight", "norm.bias")]
    assert list(group.state_dict()) == [*blocks, "head.weight", "head.bias"]
    statistics = [f"blocks.0.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")]
    assert list(batch.state_dict()) == [*blocks[:3], *statistics, "head.weight", "head.bias"]


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.sampled_from((2, 4, 6)), min_size=1, max_size=4),
    pool=st.integers(0, 3),
    channels=st.integers(1, 4),
    height=st.integers(2, 19),
    width=st.integers(2, 19),
    channels_last=st.booleans(),
)
def test_any_size_gives_logits_and_sites_or_a_clear_refusal(
    widths: list[int], pool: int, channels: int, height: int, width: int, channels_last: bool
) -> None:
    data, pooled = images(channels, height, width, outputs=7), min(pool, len(widths))
    config = CnnConfig(widths=tuple(widths), pool=pool, groups=1, channels_last=channels_last)
    if min(height, width) >> pooled == 0:
        with pytest.raises(EsperError) as caught:
            build(config, data)
        assert caught.value.code == "E402"
        return
    host = build(config, data)
    fired = fired_shapes(host, torch.randn(2, channels, height, width))
    sizes = [(height >> min(i + 1, pooled), width >> min(i + 1, pooled)) for i in range(len(widths))]
    assert fired == [(f"block{i}", (2, w, *size)) for i, (w, size) in enumerate(zip(widths, sizes, strict=True))]


def fired_shapes(host: HostBuild, x: Tensor) -> list[tuple[str | None, tuple[int, ...]]]:
    """Run one forward pass; return the sites in the order in which they fired, with the shapes of their outputs."""
    fired: list[tuple[str | None, tuple[int, ...]]] = []
    for site in host.sites:
        module = host.module.get_submodule(site.path)
        module.register_forward_hook(lambda _m, _i, out, id=site.id: fired.append((id, tuple(out.shape))))
    assert host.module(x).shape == (2, 7)
    return fired


def test_what_a_site_puts_out_reaches_the_logits() -> None:
    host, x = built(widths=(4, 8, 8)), torch.randn(2, 1, 8, 8)
    before = host.module(x)
    for site in host.sites:
        handle = host.module.get_submodule(site.path).register_forward_hook(lambda _m, _i, out: out + 1.0)
        assert not torch.allclose(host.module(x), before)
        handle.remove()
    assert torch.equal(host.module(x), before)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradient_reaches_every_parameter(norm: str, channels_last: bool) -> None:
    module = built(widths=(4, 8, 8), norm=norm, channels_last=channels_last).module
    F.cross_entropy(module(torch.randn(16, 1, 8, 8)), torch.arange(16) % 10).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_same_seed_same_host_and_another_seed_another() -> None:
    one, same, other = (built(seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["blocks.0.conv.weight"], other["blocks.0.conv.weight"])


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_channels_last_is_the_same_network(norm: str) -> None:
    last, plain = (built(images(3, 16, 16), norm=norm, channels_last=flag).module for flag in (True, False))
    x, targets = torch.randn(8, 3, 16, 16), torch.arange(8)
    for module in (last, plain):
        F.cross_entropy(module(x), targets).backward()
    torch.testing.assert_close(last(x), plain(x), atol=1e-5, rtol=1e-4)
    for (name, a), (_, b) in zip(last.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_and_activations_keep_the_declared_memory_format(channels_last: bool) -> None:
    host = built(images(3, 16, 16), channels_last=channels_last)
    declared, other = torch.contiguous_format, torch.channels_last
    if channels_last:
        declared, other = other, declared
    outputs: list[Tensor] = []
    for site in host.sites:
        host.module.get_submodule(site.path).register_forward_hook(lambda _m, _i, out: outputs.append(out))
    host.module(torch.randn(2, 3, 16, 16).contiguous(memory_format=other))
    assert len(outputs) == 2
    for activation in outputs:
        assert activation.is_contiguous(memory_format=declared)
        assert not activation.is_contiguous(memory_format=other)
    assert host.module.blocks[1].conv.weight.is_contiguous(memory_format=declared)


def test_batch_statistics_are_declared_by_the_build_that_keeps_them() -> None:
    assert built(norm="group").capabilities == frozenset()
    assert built(norm="batch").capabilities == {Capability.BATCH_STATISTICS}
    assert any(isinstance(module, nn.BatchNorm2d) for module in built(norm="batch").module.modules())


def test_copies_and_pickles_are_independent() -> None:
    module, x = built().module, torch.randn(2, 1, 8, 8)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))
        with torch.no_grad():
            twin.head.bias.add_(1.0)
        assert not torch.equal(twin(x), module(x))


def test_builds_on_the_meta_device() -> None:
    with torch.device("meta"):
        host = build(CnnConfig(widths=(4, 8)), images())
        assert host.module(torch.empty(2, 1, 8, 8)).shape == (2, 10)
    assert parameter_count(host.module) == 438
    assert {parameter.device.type for parameter in host.module.parameters()} == {"meta"}


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    module, x = built(images(3, 9, 9)).module, torch.randn(4, 3, 9, 9)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x), atol=1e-6, rtol=1e-5)


def test_exports_with_a_free_batch_size() -> None:
    module = built(images(3, 9, 9)).module.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (torch.randn(4, 3, 9, 9),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 3, 9, 9)
    torch.testing.assert_close(program.module()(x), module(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        DataShape(kind=TaskKind.TOKENS, input_shape=(16,), outputs=32),
        DataShape(kind=TaskKind.VECTORS, input_shape=(8,), outputs=2),
        DataShape(kind=TaskKind.IMAGES, input_shape=(8, 8), outputs=2),
    ],
)
def test_refuses_what_is_no_image(data: DataShape) -> None:
    with pytest.raises(EsperError) as caught:
        build(CnnConfig(), data)
    assert caught.value.code == "E402"
    assert caught.value.fix


def test_says_which_pool_leaves_nothing_and_how_many_would_do() -> None:
    with pytest.raises(EsperError, match="too small for 2 pools") as caught:
        build(CnnConfig(), images(height=8, width=3))
    assert caught.value.code == "E402"
    assert "block 1 leaves 2x0" in str(caught.value)
    assert "host.pool to 1" in str(caught.value)
    assert build(CnnConfig(pool=1), images(height=8, width=3)).module(torch.zeros(1, 1, 8, 3)).shape == (1, 10)


def test_refuses_groups_of_a_single_value() -> None:
    tiny = images(height=1, width=1)
    with pytest.raises(EsperError, match="one pixel and 2 channels in 2 groups") as caught:
        build(CnnConfig(widths=(2,), pool=0), tiny)
    assert caught.value.code == "E402"
    assert build(CnnConfig(widths=(4,), pool=0), tiny).module(torch.zeros(1, 1, 1, 1)).shape == (1, 10)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"widths": ()}, "widths"),
        ({"widths": (8, 0)}, "widths"),
        ({"widths": (8, 4.0)}, "widths"),
        ({"widths": (8, 6), "groups": 4}, "groups"),
        ({"groups": 0}, "groups"),
        ({"groups": 2, "norm": "batch"}, "groups"),
        ({"pool": -1}, "pool"),
        ({"norm": "layer"}, "layer"),
        ({"channels_last": 1}, "channels_last"),
    ],
)
def test_refuses_options_that_make_no_network(options: dict[str, object], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"'{named}'"):
        CnnConfig(**options)


def test_batch_norm_takes_widths_that_no_group_divides() -> None:
    convolutions, norms, head = 27 + 135, 2 * (3 + 5), 5 * 10 + 10
    assert parameter_count(built(widths=(3, 5), norm="batch").module) == convolutions + norms + head
