"""Seeds that see what the submodule of their site was given."""

import pytest
import torch
from torch import Tensor, nn

from esper_core.kasmina.cost import count_flops, seed_cost
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot import bare_copy
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.specs import BlueprintSpec, Capability


class Host(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.block = nn.Sequential(nn.ReLU(), nn.Flatten())
        self.linear = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.block(self.conv(x)))


class Update(nn.Module):
    """Takes the input of the submodule: at once in `seen`, so that a test sees what it was given."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.linear = nn.Linear(site.input_shape[-1], site.width, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.seen: list[Tensor] = []

    def forward(self, h: Tensor, x: Tensor | None = None) -> Tensor:
        self.seen.append(x)
        return self.linear(x)


def grown(mode: ForwardMode) -> tuple[nn.Module, SlotSet, Update]:
    torch.manual_seed(0)
    model = prepare_root(Host())
    (site,) = confirm_sites(model, [SiteRequest(path="linear")], lambda m: m(torch.randn(2, 3, 5, 5)))
    slot_set = SlotSet(model, [site], torch.optim.SGD(model.parameters(), lr=0.1))
    seed = Update(site)
    assert not slot_set.plant(site, "s", seed, 0, random=False, learning_rate=0.1, fed=True)
    slot = slot_set.attach(site)
    slot.enter(mode)
    slot.set_alpha(1.0)
    seed.seen.clear()
    return model, slot_set, seed


def test_a_site_knows_the_shape_of_what_a_layer_is_given_and_only_of_a_layer():
    model, sample = prepare_root(Host()), torch.randn(2, 3, 5, 5)
    requests = [
        SiteRequest(path=path, layout=layout) for path, layout in (("conv", "NCHW"), ("block", "BD"), ("linear", "BD"))
    ]
    shapes = {site.path: site.input_shape for site in confirm_sites(model, requests, lambda m: m(sample))}
    assert shapes == {"conv": (3, 5, 5), "block": (), "linear": (36,)}


@pytest.mark.parametrize(
    "mode", [ForwardMode.STRAIGHT_THROUGH, ForwardMode.ISOLATED, ForwardMode.OPEN, ForwardMode.FOSSIL]
)
def test_the_seed_is_given_the_input_and_sends_a_gradient_back_only_where_it_may(mode):
    model, _, seed = grown(mode)
    bare, _, _ = grown(ForwardMode.PROBE)
    with torch.no_grad():
        seed.linear.weight.normal_()
    x = torch.randn(3, 3, 5, 5)
    for network in (model, bare):
        network(x).square().sum().backward()
    torch.testing.assert_close(seed.seen[0], model.block(model.conv(x)))
    assert seed.linear.weight.grad.any()
    host = [torch.equal(a.grad, b.grad) for a, b in zip(model.conv.parameters(), bare.conv.parameters(), strict=True)]
    assert all(host) is (mode is ForwardMode.STRAIGHT_THROUGH)
    if mode is ForwardMode.ISOLATED:
        out = model(x).detach()
        assert torch.equal(out.sum(), model(x).sum())
        isolated = torch.autograd.grad(model(x).sum(), [*model.conv.parameters()])
        expected = torch.autograd.grad(bare(x).sum(), [*bare.conv.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(isolated, expected, strict=True))


def test_a_seed_that_writes_into_the_input_does_not_reach_the_host():
    model, slot_set, seed = grown(ForwardMode.ISOLATED)
    seed.forward = lambda h, x: x.mul_(0.0).sum() * h
    x = torch.randn(3, 3, 5, 5)
    bare, _, _ = grown(ForwardMode.PROBE)
    with torch.no_grad():
        torch.testing.assert_close(model(x), bare(x))
    assert slot_set.failures() == {}


def test_without_an_input_that_is_known_the_seed_is_called_with_the_activation_alone():
    calls = []

    class Plain(nn.Linear):
        def forward(self, *given):
            calls.append(len(given))
            return super().forward(given[0]) * 0

    model = prepare_root(nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)))
    (site,) = confirm_sites(model, [SiteRequest(path="0")], lambda m: m(torch.randn(2, 3)))
    slot_set = SlotSet(model, [site], torch.optim.SGD(model.parameters(), lr=0.1))
    assert not slot_set.plant(site, "s", Plain(4, 4), 0, random=False, learning_rate=0.1, fed=True)
    slot_set.attach(site).enter(ForwardMode.FOSSIL)
    model(torch.randn(2, 3))
    assert {*calls} == {1}


def test_what_it_costs_is_counted_with_the_input():
    site = Site(id="l", path="l", layout=Layout.BD, width=5, sample_shape=(5,), input_shape=(36,))
    cost = seed_cost(Update, site, fed=True)
    assert (cost.parameters, cost.forward_flops) == (36 * 5, 2 * 36 * 5)
    assert count_flops(Update(site), torch.randn(1, 5), torch.randn(1, 36)) == cost.forward_flops


def test_layouts_for_inputs_fit_only_where_the_input_is_known():
    entry = CatalogueEntry(name="lora", layouts=frozenset({Layout.BTD}), input_layouts=frozenset({Layout.BD}))
    bare = Site(id="l", path="l", layout=Layout.BD, width=5, sample_shape=(5,))
    known = Site(id="l", path="l", layout=Layout.BD, width=5, sample_shape=(5,), input_shape=(36,))
    assert (entry.fits(bare), entry.fits(known)) == (False, True)


@pytest.mark.parametrize(
    "options", [{"capabilities": {Capability.SITE_INPUT, Capability.PADDING_MASK}}, {"input_layouts": ("BD",)}]
)
def test_a_blueprint_that_contradicts_itself_is_refused(options):
    with pytest.raises(ValueError, match="site-input"):
        BlueprintSpec(name="a", summary="b", factory="c:d", layouts=("BTD",), **options)


def test_a_bare_copy_has_no_slots_and_leaves_the_original_alone():
    model, _, _ = grown(ForwardMode.OPEN)
    hooks, kind = [*model.linear._forward_hooks], type(model.linear)
    copied = bare_copy(model.linear)
    assert type(copied) is nn.Linear
    assert not copied._forward_hooks
    assert ([*model.linear._forward_hooks], type(model.linear)) == (hooks, kind)
    assert copied.weight is not model.linear.weight
