"""The host `transformer` through its descriptor, its options and its factory."""

import copy
import math
import pickle
import subprocess
import sys
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, HostBuild, TaskKind
from esper_core.specs import Capability, HostSpec, Layout
from esper_host_transformer.config import TransformerConfig
from esper_host_transformer.gpt import build
from esper_host_transformer.plugin import esper_hosts

EVERY_SITE = ("block", "attention", "mlp")


def tokens(length: int = 12, vocabulary: int = 29) -> DataShape:
    return DataShape(kind=TaskKind.TOKENS, input_shape=(length,), outputs=vocabulary)


def built(data: DataShape | None = None, seed: int = 0, **options: object) -> HostBuild:
    torch.manual_seed(seed)
    return build(TransformerConfig(**({"width": 16, "heads": 2} | options)), data or tokens())


def drawn(*shape: int, vocabulary: int = 29, seed: int = 0) -> Tensor:
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def refusal(config: TransformerConfig, data: DataShape) -> EsperError:
    with pytest.raises(EsperError) as caught:
        build(config, data)
    assert caught.value.code == "E402"
    assert caught.value.fix
    return caught.value


def test_descriptor_resolves_to_the_factory_and_its_options() -> None:
    (spec,) = esper_hosts()
    assert (spec.name, spec.kind, spec.layouts) == ("transformer", HostSpec.kind, {Layout.BTD})
    assert spec.factory == f"{build.__module__}:{build.__qualname__}"
    assert spec.config == f"{TransformerConfig.__module__}:{TransformerConfig.__qualname__}"


def test_descriptor_and_options_import_no_torch() -> None:
    code = "import sys, esper_host_transformer.plugin, esper_host_transformer.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    head_width=st.integers(1, 5),
    length=st.integers(1, 9),
    vocabulary=st.integers(2, 40),
)
@settings(max_examples=25, deadline=None)
def test_parameters_follow_the_formula(layers: int, heads: int, head_width: int, length: int, vocabulary: int) -> None:
    width = heads * head_width
    module = built(tokens(length, vocabulary), layers=layers, heads=heads, width=width).module
    expected = width * (vocabulary + length) + layers * (12 * width**2 + 13 * width) + 2 * width
    assert parameter_count(module) == expected


def test_mlp_ratio_sets_the_hidden_features() -> None:
    narrow, wide = (parameter_count(built(mlp_ratio=ratio, layers=1).module) for ratio in (1, 2.5))
    assert wide - narrow == 24 * (2 * 16 + 1)


def layer_by_hand(state: dict[str, Tensor], index: int, x: Tensor, heads: int) -> Tensor:
    """One layer written out, one sequence, one head and one position at a time."""

    def linear(name: str, y: Tensor) -> Tensor:
        return y @ state[f"layers.{index}.{name}.weight"].T + state[f"layers.{index}.{name}.bias"]

    y = normalised(x, state[f"layers.{index}.norm_attention.weight"], state[f"layers.{index}.norm_attention.bias"])
    query, key, value = linear("attention.project_in", y).split(x.shape[-1], dim=-1)
    size, gathered = x.shape[-1] // heads, torch.zeros_like(x)
    for b in range(x.shape[0]):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(x.shape[1]):
                scores = key[b, : t + 1, part] @ query[b, t, part] / math.sqrt(size)
                gathered[b, t, part] = scores.softmax(0) @ value[b, : t + 1, part]
    x = x + linear("attention.project_out", gathered)
    y = normalised(x, state[f"layers.{index}.norm_mlp.weight"], state[f"layers.{index}.norm_mlp.bias"])
    hidden = linear("mlp.project_in", y)
    hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return x + linear("mlp.project_out", hidden)


def normalised(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * weight + bias


def test_agrees_with_the_network_written_out() -> None:
    module, inputs = built(layers=2).module, drawn(3, 9)
    state = {name: torch.randn_like(value) * 0.4 for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    x = state["tokens.weight"][inputs] + state["positions.weight"][:9]
    for index in range(2):
        x = layer_by_hand(state, index, x, heads=2)
    expected = normalised(x, state["norm.weight"], state["norm.bias"]) @ state["tokens.weight"].T
    assert torch.allclose(module(inputs), expected, atol=1e-4, rtol=1e-4)


def test_state_dict_holds_the_tied_weights_once() -> None:
    parts = [
        f"{part}.{name}"
        for part in ("norm_attention", "attention.project_in", "attention.project_out")
        for name in ("weight", "bias")
    ]
    parts += [
        f"{part}.{name}" for part in ("norm_mlp", "mlp.project_in", "mlp.project_out") for name in ("weight", "bias")
    ]
    expected = [
        "tokens.weight",
        "positions.weight",
        *(f"layers.0.{part}" for part in parts),
        "norm.weight",
        "norm.bias",
    ]
    assert list(built(layers=1).module.state_dict()) == expected


@pytest.mark.parametrize("init", ["scaled", "gpt2"])
def test_initial_weights_follow_the_width_or_are_those_of_gpt2(init: str) -> None:
    layers = 8
    module = built(tokens(64, 500), layers=layers, width=96, heads=4, init=init).module
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            scaled = init == "scaled" and "project" in name
            expected = 1 / math.sqrt(3 * parameter.shape[1]) if scaled else 0.02
            expected *= 1 / math.sqrt(2 * layers) if "project_out" in name else 1
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < 5 * expected / math.sqrt(parameter.numel()), name


def test_a_new_network_knows_nothing() -> None:
    module = built(tokens(32, 257), width=64, layers=4, heads=4).module
    text = drawn(16, 33, vocabulary=257)
    loss = F.cross_entropy(module(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(257), abs=0.1)


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (("block",), ["layer0", "layer1"]),
        (("mlp",), ["layer0_mlp", "layer1_mlp"]),
        (("mlp", "attention"), ["layer0_attention", "layer0_mlp", "layer1_attention", "layer1_mlp"]),
        (
            ("linear", "mlp"),
            [
                f"layer{index}_{part}"
                for index in (0, 1)
                for part in (
                    "attention_project_in",
                    "attention_project_out",
                    "mlp_project_in",
                    "mlp_project_out",
                    "mlp",
                )
            ],
        ),
        (EVERY_SITE, [f"layer{index}{part}" for index in (0, 1) for part in ("_attention", "_mlp", "")]),
    ],
)
def test_sites_fire_once_each_in_the_declared_order(sites: Iterable[str], expected: list[str]) -> None:
    host = built(sites=sites)
    assert [site.id for site in host.sites] == expected
    assert all(site.causal and site.layout is Layout.BTD for site in host.sites)
    fired: list[tuple[str | None, tuple[int, ...]]] = []
    for site in host.sites:
        module = host.module.get_submodule(site.path)
        module.register_forward_hook(lambda _m, _i, out, id=site.id: fired.append((id, tuple(out.shape))))
    host.module(drawn(3, 7))
    widths = {"attention_project_in": 48, "mlp_project_in": 64}
    assert fired == [(name, (3, 7, widths.get(name.partition("_")[2], 16))) for name in expected]


def test_inner_sites_hold_what_is_added_to_the_stream() -> None:
    host, seen = built(sites=EVERY_SITE, layers=1), {}
    for site in host.sites:
        module = host.module.get_submodule(site.path)
        module.register_forward_hook(lambda _m, _i, out, id=site.id: seen.update({id: out}))
    inputs = drawn(2, 6)
    host.module(inputs)
    stream = host.module.tokens(inputs) + host.module.positions.weight[:6]
    assert torch.allclose(stream + seen["layer0_attention"] + seen["layer0_mlp"], seen["layer0"], atol=1e-6)


def test_what_a_site_puts_out_reaches_the_logits() -> None:
    host, inputs = built(sites=EVERY_SITE), drawn(2, 8)
    before = host.module(inputs)
    push = torch.randn(16)
    for site in host.sites:
        handle = host.module.get_submodule(site.path).register_forward_hook(lambda _m, _i, out: out + push)
        assert not torch.allclose(host.module(inputs), before)
        handle.remove()
    assert torch.equal(host.module(inputs), before)


@given(st.integers(0, 11), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_changed_token_leaves_everything_before_it_unchanged(position: int, seed: int) -> None:
    module, inputs = built(sites=EVERY_SITE).module, drawn(1, 12, seed=seed)
    changed = inputs.clone()
    changed[0, position] = (changed[0, position] + 1) % 29
    before, after = module(inputs), module(changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert (before[:, position:] != after[:, position:]).any(-1).all()


@pytest.mark.parametrize("length", [1, 5, 12])
def test_a_prefix_gets_the_same_logits_as_within_the_whole(length: int) -> None:
    module, inputs = built().module, drawn(4, 12)
    assert torch.allclose(module(inputs[:, :length]), module(inputs)[:, :length], atol=1e-5)


def test_the_context_may_be_longer_than_the_sequences() -> None:
    module = built(tokens(12), context=40).module
    assert module(drawn(2, 40)).shape == (2, 40, 29)


def test_longer_sequences_than_the_context_are_refused() -> None:
    module = built(tokens(12)).module
    with pytest.raises(EsperError, match="sequences of 13 tokens are too long") as caught:
        module(drawn(2, 13))
    assert caught.value.code == "E402"
    assert "host.context to 13" in str(caught.value)
    assert "host.context=8" in str(refusal(TransformerConfig(context=8), tokens(12)))


@pytest.mark.parametrize(("heads", "width", "near"), [(3, 16, 2), (5, 12, 4), (40, 16, 16)])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int, width: int, near: int) -> None:
    error = refusal(TransformerConfig(heads=heads, width=width), tokens())
    assert f"host.heads={heads}, host.width={width}" in str(error)
    assert f"host.heads={near}," in str(error)
    assert width % near == 0


@pytest.mark.parametrize(
    "data",
    [
        DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=10),
        DataShape(kind=TaskKind.VECTORS, input_shape=(8,), outputs=2),
        DataShape(kind=TaskKind.TOKENS, input_shape=(2, 8), outputs=2),
    ],
)
def test_what_is_no_sequence_of_tokens_is_refused(data: DataShape) -> None:
    assert str(data.kind) in str(refusal(TransformerConfig(), data))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_gradient_reaches_every_parameter(dropout: float) -> None:
    module = built(dropout=dropout).module
    text = drawn(16, 13)
    F.cross_entropy(module(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dropout_acts_in_training_only_and_is_declared() -> None:
    host, inputs = built(dropout=0.3), drawn(2, 12)
    assert host.capabilities == {Capability.RANDOM}
    assert not torch.equal(host.module(inputs), host.module(inputs))
    host.module.eval()
    assert torch.equal(host.module(inputs), host.module(inputs))
    plain = built()
    assert plain.capabilities == frozenset()
    assert torch.equal(plain.module(inputs), host.module(inputs))


@pytest.mark.parametrize("place", ["embeddings", "attention weights", "attention", "mlp"])
def test_every_dropout_is_in_place(place: str) -> None:
    module, inputs = built(dropout=0.5, layers=1).module, drawn(1, 12)
    layer = module.layers[0]
    module.dropout = layer.attention.dropout = layer.mlp.dropout = 0.0
    outputs: dict[str, Tensor] = {}
    layer.attention.register_forward_hook(lambda _m, _i, out: outputs.update(attention=out))
    layer.mlp.register_forward_hook(lambda _m, _i, out: outputs.update(mlp=out))
    layer.norm_attention.register_forward_pre_hook(lambda _m, args: outputs.update(embeddings=args[0]))
    layer.attention.project_out.register_forward_pre_hook(
        lambda _m, args: outputs.update({"attention weights": args[0]})
    )
    module(inputs)
    kept = dict(outputs)
    owner = {"embeddings": module, "mlp": layer.mlp}.get(place, layer.attention)
    owner.dropout = 0.5
    module(inputs)
    dropped = (outputs[place] == 0).float().mean().item()
    assert not torch.equal(outputs[place], kept[place])
    if place != "attention weights":  # those are dropped before they are summed up
        assert dropped == pytest.approx(0.5, abs=0.2)


def test_same_seed_same_host_and_another_seed_another() -> None:
    one, same, other = (built(seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["tokens.weight"], other["tokens.weight"])


def test_sites_do_not_change_the_network() -> None:
    one, other = (built(sites=sites).module.state_dict() for sites in (("block",), EVERY_SITE))
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_copies_and_pickles_are_independent() -> None:
    module, inputs = built().module, drawn(2, 8)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(inputs), module(inputs))
        with torch.no_grad():
            twin.tokens.weight.mul_(2.0)
        assert not torch.equal(twin(inputs), module(inputs))


@pytest.mark.slow
def test_builds_on_the_meta_device() -> None:
    with torch.device("meta"):
        host = build(TransformerConfig(), tokens())
        assert host.module(torch.empty((2, 12), dtype=torch.int64)).shape == (2, 12, 29)
    assert {parameter.device.type for parameter in host.module.parameters()} == {"meta"}


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    module = built(sites=EVERY_SITE).module
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for inputs in (drawn(4, 12), drawn(4, 7)):
        torch.testing.assert_close(compiled(inputs), module(inputs), atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_exports_with_free_batch_size_and_length() -> None:
    module = built(tokens(32)).module.eval()
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=32)
    program = torch.export.export(module, (drawn(4, 10),), dynamic_shapes=({0: batch, 1: length},))
    for shape in ((7, 32), (1, 2), (3, 17)):
        inputs = drawn(*shape)
        torch.testing.assert_close(program.module()(inputs), module(inputs), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layers": 0}, "layers"),
        ({"heads": 0}, "heads"),
        ({"width": 16.0}, "width"),
        ({"context": 0}, "context"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio"),
        ({"mlp_ratio": 0.01}, "mlp_ratio"),
        ({"sites": ()}, "sites"),
        ({"sites": ("mlp", "mlp")}, "sites"),
        ({"sites": ("head",)}, "head"),
    ],
)
def test_refuses_options_that_make_no_network(options: dict[str, object], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"'{named}'"):
        TransformerConfig(**options)
