"""A grown network becomes a plain one that computes the same, and needs nothing of Esper."""

import io
import re
import subprocess
import sys
import textwrap
import warnings
from collections import namedtuple
from importlib.metadata import requires

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import GrowableSequential, prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import DataShape, TaskKind
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.specs import BlueprintSpec, Capability, HostSpec
from esper_core.nn import BoundedGain
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.resolve import build_config, resolve
from esper_export.network import NotPlainWarning, export_network
from esper_export.tracing import is_torch_only

torch.set_num_threads(1)

REGISTRY = load_plugins().registry
IMAGES = [
    "bottleneck",
    "conv-heavy",
    "conv-light",
    "depthwise",
    "group-norm",
    "noop",
    "residual-block",
    "squeeze-excite",
]
SEQUENCES = ["attention", "block", "layer-norm", "lora", "mlp"]


def seed_of(blueprint, site, **options):
    registered = REGISTRY.get(BlueprintSpec.kind, blueprint)
    torch.manual_seed(len(blueprint))
    shown = [nn.Identity()] if Capability.SITE_MODULE in registered.spec.capabilities else []
    return disturb(resolve(registered)(site, build_config(registered, options), *shown))


def disturb(module):
    """Give every parameter a value that matters: at birth a seed's update is zero."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def grow(model, batch, seeds, forward_mode=ForwardMode.FOSSIL, alpha=1.0, **site):
    """Plant `seeds`, functions of a site by path, into the model; return its root."""
    root = prepare_root(model)
    requests = [SiteRequest(path=path, **site) for path in seeds]
    slot_set = SlotSet(
        root, confirm_sites(root, requests, lambda m: m(batch)), torch.optim.SGD([*model.parameters()], lr=0.1)
    )
    for planted, found in enumerate(slot_set.sites.values()):
        seed = seeds[found.path](found)
        assert slot_set.plant(found, f"seed-{planted}", seed, planted, random=False, learning_rate=0.1) == ""
        slot = slot_set.attach(found)
        slot.enter(forward_mode)
        slot.set_alpha(alpha)
    return root.eval()


def plain(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotPlainWarning)
        return export_network(root, **options)


def assert_same(root, exported, batch):
    with torch.no_grad():
        torch.testing.assert_close(exported(batch), root(batch), rtol=1e-6, atol=1e-6)


def assert_nothing_of_esper(exported):
    assert not [name for name, _ in exported.named_modules() if name.split(".")[0] == "esper"]
    for name, module in exported.named_modules():
        assert not type(module).__module__.startswith("esper"), name
        assert not module._forward_hooks, name


class Stage(nn.Module):
    """A residual block as in a ResNet, with normalisation and ReLUs in place."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Images(nn.Module):
    def __init__(self, channels_last=False):
        super().__init__()
        self.stages = nn.ModuleList([Stage(1, 4), Stage(4, 4)])
        self.head = nn.Linear(4, 3)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.format)

    def forward(self, x):
        x = x.contiguous(memory_format=self.format)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


@pytest.fixture
def images():
    return torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def sequences():
    return torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(2))


class TestEveryBlueprint:
    @pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
    @pytest.mark.parametrize("blueprint", IMAGES)
    def test_on_images(self, blueprint, channels_last, images):
        seeds = {f"stages.{i}": lambda site: seed_of(blueprint, site) for i in range(2)}
        root = grow(Images(channels_last), images, seeds)
        exported = plain(root)
        assert_same(root, exported, images)
        assert_same(root, exported, images[:1, :, :5, :4])
        assert_nothing_of_esper(exported)

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("blueprint", SEQUENCES)
    def test_on_sequences(self, blueprint, causal, sequences):
        model = nn.Sequential(nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))
        root = grow(model, sequences, {"1": lambda site: seed_of(blueprint, site)}, causal=causal)
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert_same(root, exported, sequences[:1, :2])
        assert_nothing_of_esper(exported)

    def test_the_two_lists_hold_all_standard_blueprints_that_can_be_exported(self):
        needed = {re.split(r"[^a-z-]", it)[0] for it in requires("esper-standard") or ()}
        standard = {it.removeprefix("esper-blueprint-") for it in needed if it.startswith("esper-blueprint-")}
        assert {*IMAGES, *SEQUENCES} - standard == {"block", "residual-block"}
        assert standard - {*IMAGES, *SEQUENCES} == {"flex-attention"}


class TestTheCopy:
    @pytest.fixture
    def root(self, images):
        seeds = {f"stages.{i}": lambda site: seed_of("conv-light", site) for i in range(2)}
        return grow(Images(), images, seeds)

    def test_nothing_of_esper_is_left(self, root):
        assert_nothing_of_esper(plain(root))

    def test_the_network_stays_as_it_is(self, root, images):
        before = root(images)
        exported = plain(root)
        disturb(exported)
        assert torch.equal(root(images), before)
        assert set(dict(root.named_children())) == {"stages", "head", "esper"}

    def test_the_host_lies_one_level_deeper_and_everything_else_where_it_was(self, root):
        names = set(plain(root).state_dict())
        assert {"head.weight", "stages.0.host.conv.weight", "stages.1.seed.body.0.0.weight"} <= names

    def test_it_has_as_many_parameters_and_all_can_be_trained(self, root, images):
        exported = plain(root).train()
        exported(images).square().sum().backward()
        assert sum(p.numel() for p in exported.parameters()) == sum(p.numel() for p in root.parameters())
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in exported.parameters())

    def test_its_gradients_are_those_of_the_network(self, root, images):
        exported = plain(root)
        for network in (root, exported):
            network(images).square().sum().backward()
        ours = {name.replace(".host", ""): p.grad for name, p in exported.named_parameters() if ".seed." not in name}
        theirs = {name: p.grad for name, p in root.named_parameters() if not name.startswith("esper")}
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("training", [False, True])
    def test_it_is_in_the_mode_of_the_network(self, root, training):
        root.train(training)
        assert {module.training for module in plain(root).modules()} == {training}

    def test_the_random_state_is_left_alone(self, root):
        before = torch.random.get_rng_state()
        plain(root)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_a_network_without_seeds_is_copied(self, images):
        model = prepare_root(Images())
        exported = plain(model)
        assert set(exported.state_dict()) == set(Images().state_dict())
        assert_same(model, exported, images)

    def test_buffers_and_frozen_parameters_stay_what_they_are(self, images):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
        model[0].requires_grad_(False)
        root = grow(model, images, {"1": lambda site: seed_of("conv-light", site)})
        exported = plain(root)
        assert_same(root, exported, images)
        assert "1.host.running_mean" in exported.state_dict()
        assert [name for name, p in exported.named_parameters() if not p.requires_grad] == ["0.weight", "0.bias"]


class TestRoots:
    def test_a_sequential_is_one_again(self, images):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        root = grow(model, images, {"1": lambda site: seed_of("depthwise", site)})
        assert type(root) is GrowableSequential
        exported = plain(root)
        assert type(exported) is nn.Sequential
        assert len(exported) == 4
        assert_same(root, exported, images)
        assert_nothing_of_esper(exported)

    def test_a_site_inside_of_a_site(self, images):
        class Outer(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = Stage(1, 4)

            def forward(self, x):
                return self.inner(x).tanh()

        model = nn.Sequential(Outer(), nn.Flatten())
        seeds = {"0": lambda site: seed_of("conv-light", site), "0.inner": lambda site: seed_of("depthwise", site)}
        root = grow(model, images, seeds)
        exported = plain(root)
        assert_same(root, exported, images)
        assert_nothing_of_esper(exported)
        assert is_torch_only(exported[0].host.inner.seed)


@pytest.mark.parametrize("blueprint", ["conv-light", "depthwise"])
def test_the_cnn_host_with_group_norm(blueprint, images):
    host = REGISTRY.get(HostSpec.kind, "cnn")
    build = resolve(host)(
        build_config(host, {"widths": [4, 8]}), DataShape(kind=TaskKind.IMAGES, input_shape=(1, 6, 6), outputs=3)
    )
    assert any(isinstance(module, nn.GroupNorm) for module in build.module.modules())
    root = grow(build.module, images, {site.path: lambda s: seed_of(blueprint, s) for site in build.sites})
    exported = plain(root)
    assert_same(root, exported, images)


def test_the_transformer_host(sequences):
    host = REGISTRY.get(HostSpec.kind, "transformer")
    shape = DataShape(kind=TaskKind.TOKENS, input_shape=(6,), outputs=9)
    options = {"width": 8, "heads": 2, "layers": 2, "sites": ["attention", "mlp", "block"]}
    build = resolve(host)(build_config(host, options), shape)
    tokens = torch.randint(0, 9, (4, 6), generator=torch.Generator().manual_seed(1))
    names = ["attention", "lora", "mlp"]
    seeds = {site.path: lambda s, name=names[index % 3]: seed_of(name, s) for index, site in enumerate(build.sites)}
    root = grow(disturb(build.module), tokens, seeds, causal=True)
    exported = plain(root)
    assert_same(root, exported, tokens)
    assert_same(root, exported, tokens[:1, :3])
    assert not any(type(module).__module__.startswith("esper_core") for module in exported.modules())


class TestLora:
    def linear_root(self, sequences, bias=True, **seed):
        model = nn.Sequential(nn.Linear(8, 8, bias=bias), nn.GELU(), nn.Linear(8, 2))
        return grow(model, sequences, {"0": lambda site: seed_of("lora", site, rank=2, **seed)})

    @pytest.mark.parametrize("bias", [True, False])
    def test_it_is_merged_into_a_linear_layer(self, sequences, bias):
        root = self.linear_root(sequences, bias)
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert [type(module) for module in exported] == [nn.Linear, nn.GELU, nn.Linear]
        assert (exported[0].bias is not None) == bias
        assert not torch.equal(exported[0].weight, root[0].weight)

    def test_a_limited_one_is_merged_as_limited(self, sequences):
        root = self.linear_root(sequences, limit=0.1)
        assert root.esper["0"].seed.scale().item() < 0.9
        assert_same(root, plain(root), sequences)

    def test_elsewhere_it_becomes_two_layers_of_its_rank(self, sequences):
        model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2))
        root = grow(model, sequences, {"0": lambda site: seed_of("lora", site, rank=2)})
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert [tuple(p.shape) for p in exported[0].seed.parameters()] == [(2, 8), (8, 2)]
        assert_nothing_of_esper(exported)

    def test_a_weight_that_somebody_else_uses_is_left_alone(self, sequences):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.project = nn.Linear(8, 8)

            def forward(self, x):
                return self.back(self.project(x))

        model = Tied()
        model.back = nn.Linear(8, 8, bias=False)
        model.back.weight = model.project.weight
        root = grow(model, sequences, {"project": lambda site: seed_of("lora", site)})
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert exported.project.host.weight is exported.back.weight

    def test_a_layer_whose_own_output_is_looked_at_is_left_alone(self, sequences):
        model = nn.Sequential(nn.Linear(8, 8), nn.GELU())
        seen = []
        model[0].register_forward_hook(lambda module, args, output: seen.append(output))
        root = grow(model, sequences, {"0": lambda site: seed_of("lora", site)})
        exported = plain(root)
        seen.clear()
        assert_same(root, exported, sequences)
        ours, theirs = seen
        assert torch.equal(ours, theirs)

    def test_a_false_declaration_is_not_believed(self, sequences):
        class Liar(nn.Module):
            def __init__(self, site):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(()))

            def matrix(self):
                return torch.eye(8)

            def forward(self, h):
                return self.scale * h.tanh()

        root = grow(nn.Sequential(nn.Linear(8, 8), nn.GELU()), sequences, {"0": Liar})
        assert_same(root, plain(root), sequences)

    def test_a_parameter_of_the_name_declares_nothing(self, sequences):
        class Mixing(nn.Module):
            def __init__(self, site):
                super().__init__()
                self.matrix = nn.Parameter(torch.full((8, 8), 0.1))

            def forward(self, h):
                return (h @ self.matrix).tanh()

        root = grow(nn.Sequential(nn.Linear(8, 8), nn.GELU()), sequences, {"0": Mixing})
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert exported[0].seed.matrix.requires_grad


class TestOutputs:
    """The activation may be an element of a tuple or the value of a mapping."""

    class Model(nn.Module):
        def __init__(self, pack, unpack):
            super().__init__()

            class Part(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = nn.Linear(8, 8)

                def forward(self, x):
                    return pack(self.linear(x), x)

            self.part = Part()
            self.unpack = unpack

        def forward(self, x):
            h, other = self.unpack(self.part(x))
            return h.tanh() + other

    @pytest.mark.parametrize(
        ("output", "pack", "unpack"),
        [
            (0, lambda h, x: (h, x), lambda out: out),
            (1, lambda h, x: (x, h, x), lambda out: (out[1], out[2])),
            (-1, lambda h, x: (x, h), lambda out: (out[1], out[0])),
            (-2, lambda h, x: (h, x), lambda out: out),
            ("h", lambda h, x: {"x": x, "h": h}, lambda out: (out["h"], out["x"])),
        ],
        ids=["first", "middle", "last", "from-the-end", "mapping"],
    )
    def test_it_is_put_back_where_it_was(self, sequences, output, pack, unpack):
        root = grow(self.Model(pack, unpack), sequences, {"part": lambda s: seed_of("mlp", s)}, output=output)
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert len(exported.part(sequences)) == len(root.part(sequences))

    def test_a_named_tuple_becomes_a_plain_one(self, sequences):
        pair = namedtuple("pair", "h x")
        root = grow(self.Model(pair, tuple), sequences, {"part": lambda s: seed_of("mlp", s)}, output=0)
        exported = plain(root)
        assert_same(root, exported, sequences)
        assert type(exported.part(sequences)) is tuple

    def test_lstm_states_are_handed_on(self, sequences):
        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(8, 8, batch_first=True)

            def forward(self, x):
                out, (hidden, _) = self.lstm(x, None)
                return out.mean(1) + hidden[-1]

        root = grow(Recurrent(), sequences, {"lstm": lambda s: seed_of("mlp", s)}, output=0)
        assert_same(root, plain(root), sequences)


class TestArguments:
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.kind = "full"

        def forward(self, x, mask=None, *, scale=1.0):
            h = self.linear(x) * scale
            return h if mask is None else h * mask

    class Model(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return self.block(x, mask=x > 0, scale=0.5).tanh()

    def test_they_reach_the_submodule_by_position_and_by_name(self, sequences):
        root = grow(self.Model(self.Block()), sequences, {"block": lambda s: seed_of("mlp", s)})
        exported = plain(root)
        assert_same(root, exported, sequences)
        mask = sequences > 1
        assert torch.equal(exported.block(sequences, mask), root.block(sequences, mask))

    def test_arguments_that_cannot_be_listed_are_reported_and_handed_on(self, sequences):
        class Open(self.Block):
            def forward(self, x, **kwargs):
                return super().forward(x, **kwargs)

        class Asking(self.Model):
            def forward(self, x):
                return super().forward(x) if self.block.kind == "full" else x

        root = grow(Asking(Open()), sequences, {"block": lambda s: seed_of("mlp", s)})
        with pytest.warns(NotPlainWarning, match=r"wrapped in .*ResidualModule: the arguments of Open cannot be"):
            exported = export_network(root)
        assert_same(root, exported, sequences)
        assert is_torch_only(exported.block.seed)
        with pytest.raises(AttributeError, match="nowhere"):
            _ = exported.block.nowhere


@fx.wrap
def weigh(delta):
    return delta * 0.5


class Stateful(nn.Module):
    """Its computation depends on the training flag, on values, or on shapes: no trace can tell."""

    def __init__(self, site: Site, kind: str) -> None:
        super().__init__()
        self.linear = disturb(nn.Linear(8, 8))
        self.kind = kind

    def forward(self, h: Tensor) -> Tensor:
        delta = self.linear(h)
        if self.kind == "training":
            return F.dropout(delta, 0.5, self.training)
        if self.kind == "noise":
            return delta + torch.rand(8) if self.training else delta
        if self.kind == "wrapped":
            return weigh(delta)
        if self.kind == "values":
            return delta if h.sum() > 1e9 else delta.tanh()
        return delta if h.shape[1] > 2 else delta.tanh()


@pytest.mark.parametrize("kind", ["training", "noise", "values", "shapes", "wrapped"])
def test_a_seed_that_cannot_be_traced_keeps_its_class_and_says_so(kind, sequences):
    model = nn.Sequential(nn.LayerNorm(8), nn.Tanh())
    root = grow(model, sequences, {"1": lambda site: Stateful(site, kind)})
    with pytest.warns(NotPlainWarning, match=r"the seed in slot \"1\" stays a .*Stateful: "):
        exported = export_network(root)
    assert_same(root, exported, sequences)
    assert_same(root, exported, sequences[:, :2])
    assert isinstance(exported[1].seed, Stateful)
    torch.manual_seed(1)
    ours = exported.train()(sequences)
    torch.manual_seed(1)
    assert torch.equal(ours, root.train()(sequences))


def test_a_seed_made_of_torch_modules_stays_as_it_is(sequences):
    seed = disturb(nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Linear(4, 8)))
    root = grow(nn.Sequential(nn.LayerNorm(8), nn.Tanh()), sequences, {"1": lambda site: seed})
    exported = plain(root)
    assert_same(root, exported, sequences)
    assert [type(part) for part in exported[1].seed] == [nn.Linear, nn.Dropout, nn.Linear]


class TestLiveSeeds:
    REGIMES = [ForwardMode.STRAIGHT_THROUGH, ForwardMode.ISOLATED, ForwardMode.OPEN]

    @pytest.mark.parametrize("forward_mode", REGIMES)
    def test_they_are_refused_by_name(self, forward_mode, images):
        root = grow(Images(), images, {"stages.1": lambda s: seed_of("conv-light", s)}, forward_mode, alpha=0.25)
        with pytest.raises(EsperError, match="live seeds cannot be exported") as caught:
            export_network(root)
        assert caught.value.code == "E507"
        assert "stages_1" in caught.value.where
        assert "alpha 0.25" in caught.value.where
        assert "remove" in caught.value.fix

    @pytest.mark.parametrize("forward_mode", REGIMES)
    def test_they_are_removed_on_request(self, forward_mode, images):
        host = Images()
        before = host(images)
        root = grow(host, images, {"stages.1": lambda s: seed_of("conv-light", s)}, forward_mode, alpha=0.25)
        exported = plain(root, live="remove")
        assert torch.equal(exported(images), before)
        assert set(exported.state_dict()) == set(Images().state_dict())
        assert "stages_1" in root.esper

    def test_fossils_beside_them_stay(self, images):
        seeds = {f"stages.{i}": lambda s: seed_of("conv-light", s) for i in range(2)}
        root = grow(Images(), images, seeds)
        root.esper["stages_1"].enter(ForwardMode.OPEN)
        exported = plain(root, live="remove")
        root.esper["stages_1"].override = 0.0
        assert_same(root, exported, images)

    def test_there_is_no_third_way(self, images):
        with pytest.raises(ValueError, match="'keep'"):
            export_network(prepare_root(Images()), live="keep")


def test_a_hook_behind_a_seed_is_refused_by_name(images):
    root = grow(Images(), images, {"stages.0": lambda s: seed_of("conv-light", s)})
    handle = root.stages[0].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.raises(EsperError, match="stages_0") as caught:
        export_network(root)
    assert caught.value.code == "E512"
    handle.remove()
    assert_same(root, plain(root), images)


BARE = """
    import io, sys
    from importlib.abc import MetaPathFinder

    class NoEsper(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0].startswith("esper"):
                raise ImportError(f"{name} must not be needed")

    sys.meta_path.insert(0, NoEsper())
    import torch

    torch.set_num_threads(1)
    saved = torch.load(sys.argv[1], weights_only=False)
    network, batch, expected = saved["network"], saved["batch"], saved["expected"]
    torch.testing.assert_close(network(batch), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(network.train()(batch), expected, rtol=1e-6, atol=1e-6)
    assert not [name for name in sys.modules if name.startswith("esper")]
"""


@pytest.mark.slow
def test_it_can_be_unpickled_where_there_is_no_esper(tmp_path, images, sequences):
    convolutions = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    linears = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))
    kinds = ["lora", "attention", "lora", "mlp"]
    cases = {
        "images": (convolutions, images, {"0": "conv-light", "1": "squeeze-excite", "2": "depthwise"}),
        "sequences": (linears, sequences, {str(index): kind for index, kind in enumerate(kinds)}),
    }
    for name, (model, batch, blueprints) in cases.items():
        seeds = {path: lambda site, kind=kind: seed_of(kind, site) for path, kind in blueprints.items()}
        root = grow(model, batch, seeds)
        with torch.no_grad():
            torch.save({"network": plain(root), "batch": batch, "expected": root(batch)}, tmp_path / name)
        command = [sys.executable, "-c", textwrap.dedent(BARE), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_it_can_be_copied_and_pickled_again(images):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    root = grow(model, images, {"0": lambda s: seed_of("conv-light", s)})
    buffer = io.BytesIO()
    torch.save(plain(root), buffer)
    buffer.seek(0)
    assert_same(root, torch.load(buffer, weights_only=False), images)
    assert_same(root, export_network(plain(root)), images)


def test_a_seed_with_a_gain_of_the_core_is_left_with_its_parameters_alone(images):
    class Gained(nn.Module):
        def __init__(self, site):
            super().__init__()
            self.conv = nn.Conv2d(site.width, site.width, 3, padding=1)
            self.gain = disturb(BoundedGain(site.width, Layout.NCHW))

        def forward(self, h):
            return self.gain(self.conv(h).relu(), h)

    root = grow(Images(), images, {"stages.0": Gained})
    exported = plain(root)
    assert_same(root, exported, images)
    assert [name for name, _ in exported.stages[0].seed.named_parameters()] == ["conv.weight", "conv.bias", "gain.gain"]
