"""A padding mask reaches the seeds that take one, in whatever form the host has it; nothing in padding reaches them."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

import esper_core
from esper_blueprint_attention.config import AttentionConfig
from esper_blueprint_attention.module import Attention
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics
from esper_core.leyline.protocols import Split
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Blend
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.measuring import measure
from esper_export.network import NotPlainWarning, export_network

LENGTH, WIDTH, PADDING = 6, 8, 0
PATHS = ("layers.0", "layers.1")

#: The forms in which models hand masks to their layers.
FORMS = {
    "bool (B, T)": lambda real: real,
    "int (B, T)": lambda real: real.long(),
    "float (B, T)": lambda real: real.float(),
    "additive (B, T)": lambda real: torch.zeros(real.shape).masked_fill(~real, float("-inf")),
    "bool (B, 1, 1, T)": lambda real: real[:, None, None, :],
    "bool (B, 1, T, T)": lambda real: real[:, None, None, :].expand(-1, 1, LENGTH, LENGTH),
    "additive (B, 1, 1, T)": lambda real: (~real[:, None, None, :]).float() * -10000.0,
    "additive (B, 1, T, T)": lambda real: torch.zeros(len(real), 1, LENGTH, LENGTH).masked_fill(
        ~real[:, None, None, :], torch.finfo(torch.float32).min
    ),
    "None where nothing is padded": lambda real: None if real.all() else real[:, None, None, :],
}


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, attention_mask=None, **options):
        query, key, value = (part.unsqueeze(1) for part in self.qkv(x).chunk(3, dim=-1))
        mask = None if attention_mask is None else self.pairs(attention_mask)
        return x + self.out(scaled_dot_product_attention(query, key, value, attn_mask=mask).squeeze(1))

    @staticmethod
    def pairs(mask):
        if mask.ndim == 2:
            mask = (mask >= 0 if mask.is_floating_point() and (mask < 0).any() else mask > 0)[:, None, None, :]
        return mask


class Encoder(nn.Module):
    """Tokens (B, T) -> logits (B, T, 3); the layers are told what padding is, by name or by position."""

    def __init__(self, form="bool (B, 1, 1, T)", *, by_name=True, checkpointed=False):
        super().__init__()
        self.form, self.by_name, self.checkpointed = form, by_name, checkpointed
        self.tokens = nn.Embedding(11, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in PATHS)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, tokens):
        mask = FORMS[self.form](tokens != PADDING)
        x = self.tokens(tokens)
        for layer in self.layers:
            if self.checkpointed:
                x = checkpoint(layer, x, attention_mask=mask, use_reentrant=False)
            else:
                x = layer(x, attention_mask=mask) if self.by_name else layer(x, mask)
        return self.head(x)


class PerToken:
    """The criterion of a task that counts real positions only."""

    def losses(self, outputs, targets):
        return nn.functional.cross_entropy(outputs.mT, targets, ignore_index=-100, reduction="none").mean(-1)

    def correct(self, outputs, targets):
        return (outputs.argmax(-1) == targets).float().mean(-1)


def attention(site):
    seed = Attention(site, AttentionConfig(heads=2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in seed.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return seed


class Plain(nn.Module):
    """A seed that takes the activation alone."""

    def __init__(self, site):
        super().__init__()
        self.linear = nn.Linear(site.width, site.width)

    def forward(self, h):
        return self.linear(h)


def tokens(size=4):
    """Draw documents of different lengths, one of them whole."""
    drawn = torch.randint(1, 11, (size, LENGTH), generator=torch.Generator().manual_seed(3))
    for row in range(1, size):
        drawn[row, LENGTH - 1 - row % 4 :] = PADDING
    return drawn


def grow(model, *, forward_mode=ForwardMode.OPEN, mask="attention_mask", masked=True, make=attention, paths=PATHS):
    torch.manual_seed(0)
    root = prepare_root(model)
    requests = [SiteRequest(path=path, mask=mask) for path in paths]
    sites = confirm_sites(root, requests, lambda m: m(tokens()))
    slot_set = SlotSet(root, sites, torch.optim.SGD([*root.parameters()], lr=0.1))
    for number, site in enumerate(sites):
        assert slot_set.plant(site, site.id, make(site), number, random=False, learning_rate=0.1, masked=masked) == ""
        slot = slot_set.attach(site)
        slot.enter(forward_mode)
        slot.set_alpha(0.7)
    return slot_set


def encoder(form="bool (B, 1, 1, T)", **options):
    torch.manual_seed(0)
    return Encoder(form, **options).eval()


def disturbed(model):
    """Return what the network says of `tokens` where the content of padding is another one."""
    with torch.no_grad():
        model.tokens.weight[PADDING] += 5.0
        outputs = model(tokens())
        model.tokens.weight[PADDING] -= 5.0
    return outputs


REAL = tokens() != PADDING


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by_name", [True, False])
def test_the_content_of_padding_changes_nothing_at_real_positions(form, by_name):
    model = grow(encoder(form, by_name=by_name)).model
    before = model(tokens())
    assert torch.allclose(disturbed(model)[REAL], before[REAL], atol=1e-5)
    assert not torch.allclose(disturbed(model)[~REAL], before[~REAL], atol=1e-2)


@pytest.mark.parametrize("forward_mode", [ForwardMode.ISOLATED, ForwardMode.OPEN, ForwardMode.FOSSIL])
def test_in_every_regime(forward_mode):
    model = grow(encoder(), forward_mode=forward_mode).model
    assert torch.allclose(disturbed(model)[REAL], model(tokens())[REAL], atol=1e-5)


@pytest.mark.parametrize("position", [1, "attention_mask"])
def test_a_mask_may_be_declared_by_its_position(position):
    model = grow(encoder(by_name=False), mask=position).model
    assert torch.allclose(disturbed(model)[REAL], model(tokens())[REAL], atol=1e-5)


@pytest.mark.parametrize("options", [{"mask": None}, {"masked": False}])
def test_without_a_declaration_padding_is_seen(options):
    model = grow(encoder(), **options).model
    assert not torch.allclose(disturbed(model)[REAL], model(tokens())[REAL], atol=1e-2)


def test_in_training_the_seeds_gradients_do_not_depend_on_padding():
    def gradients(content):
        slot_set = grow(encoder(), forward_mode=ForwardMode.STRAIGHT_THROUGH, paths=PATHS[1:])
        with torch.no_grad():
            slot_set.model.tokens.weight[PADDING] = content
        slot_set.model(tokens())[REAL].square().sum().backward()
        return [parameter.grad for parameter in slot_set.seed_parameters("layers_1")]

    for one, other in zip(gradients(0.0), gradients(5.0), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_seed_that_takes_no_mask_is_called_as_before():
    slot_set = grow(encoder(), make=Plain, masked=False)
    for site in slot_set.sites.values():
        assert not slot_set.model.get_submodule(site.path)._forward_hooks_with_kwargs
    assert slot_set.model(tokens()).isfinite().all()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_know_the_mask(clone):
    model = grow(encoder()).model
    twin = clone(model)
    before = model(tokens())
    assert torch.equal(twin(tokens()), before)
    assert torch.allclose(disturbed(twin)[REAL], before[REAL], atol=1e-5)
    with torch.no_grad():
        for parameter in twin.esper.parameters():
            parameter.zero_()
    assert torch.equal(model(tokens()), before)


def test_activation_checkpointing_changes_nothing():
    def gradients(*, checkpointed):
        model = grow(encoder(checkpointed=checkpointed)).model.train()
        model(tokens())[REAL].square().sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    for plain, twice in zip(gradients(checkpointed=False), gradients(checkpointed=True), strict=True):
        assert torch.equal(plain, twice)


@pytest.mark.parametrize("form", ["bool (B, 1, 1, T)", "None where nothing is padded"])
def test_counterfactuals_are_those_of_separate_passes_also_where_masks_come_and_go(form):
    """The first batches are whole: a host that is tried on them would seem to need no masks."""
    slot_set = grow(encoder(form))
    whole = torch.randint(1, 11, (4, LENGTH), generator=torch.Generator().manual_seed(4))
    inputs = torch.cat([whole, tokens(), whole])
    targets = inputs.masked_fill(inputs == PADDING, -100) % 3
    targets = targets.masked_fill(inputs == PADDING, -100)
    split, settings = Split(inputs=inputs, targets=targets), [{"layers_0": 0.0}, {"layers_0": 0.3, "layers_1": 0.0}]
    measured = measure(slot_set, PerToken(), split, settings, batch_size=4, forks=ForkMap())
    for setting, losses in zip(settings, measured.losses, strict=True):
        with slot_set.override(setting), torch.no_grad():
            expected = PerToken().losses(slot_set.model(inputs), targets)
        assert torch.allclose(torch.tensor(losses), expected, atol=1e-5)
    assert isinstance(measured.metrics, EpochMetrics)


def test_what_is_exported_knows_the_mask():
    model = grow(encoder("None where nothing is padded"), forward_mode=ForwardMode.FOSSIL).model
    with pytest.warns(NotPlainWarning, match="padding mask"):
        plain = export_network(model)
    assert not hasattr(plain, "esper")
    for batch in (tokens(), tokens(1)):
        assert torch.allclose(plain(batch), model(batch), atol=1e-6)
    assert torch.allclose(disturbed(plain)[REAL], plain(tokens())[REAL], atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (5, "no argument 5"),
        ("x", "is not a padding mask: a mask of shape"),
        (0, "is not a padding mask: a mask of shape"),
    ],
)
def test_an_argument_that_is_no_mask_is_refused(mask, why):
    with pytest.raises(EsperError, match=why) as caught:
        grow(encoder(), mask=mask)
    assert caught.value.code == "E401"
    assert "declare as mask" in str(caught.value)


def test_an_argument_that_does_not_exist_is_refused():
    with pytest.raises(EsperError, match="no argument 'mask'"):
        confirm_sites(encoder(), [SiteRequest(path="head", mask="mask")], lambda m: m(tokens()))


def test_a_mask_is_for_positions():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    request = SiteRequest(path="0", mask="input")
    with pytest.raises(EsperError, match="a padding mask is for positions"):
        confirm_sites(model, [request], lambda m: m(torch.randn(2, 1, 3, 3)))


def test_torchs_own_encoder_can_declare_its_mask():
    class Host(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(11, WIDTH)
            layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, tokens):
            return self.encoder(self.tokens(tokens), src_key_padding_mask=tokens == PADDING)

    torch.manual_seed(0)
    paths = ("encoder.layers.0", "encoder.layers.1")
    model = grow(Host().eval(), mask="src_key_padding_mask", paths=paths).model
    assert torch.allclose(disturbed(model)[REAL], model(tokens())[REAL], atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_graph_break():
    model = grow(encoder()).model
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for batch in (tokens(), tokens(1)):
        assert torch.allclose(compiled(batch), model(batch), atol=1e-5)


def test_a_network_of_ones_own_says_where_its_masks_are():
    torch.manual_seed(0)
    model = Encoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"optimizer": optimizer, "epochs": 4, "sample": tokens(), "blueprints": ["attention", "layer-norm"]}
    handle = esper_core.grow(model, sites=SiteRequest(path="layers.*", mask="attention_mask"), **options)
    assert [site.mask for site in handle.growth.sites] == ["attention_mask"] * 2
    for slot, blueprint in (("layers_0", "attention"), ("layers_1", "layer-norm")):
        handle.growth.germinate(slot, blueprint, Blend.LINEAR, 1)
    handle.growth.tick(1)
    assert {name: slot.masked for name, slot in handle.growth.slot_set.slots.items()} == {
        "layers_0": True,
        "layers_1": False,
    }
