"""Sites are confirmed by one traced batch, and what cannot carry a slot is refused by name and reason."""

import pytest
import torch
from torch import nn

from esper_core.kasmina.root_module import GrowableSequential, prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Blend


def confirm(model, *requests, shape=(2, 4)):
    return confirm_sites(model, requests, lambda m: m(torch.randn(shape)))


class Tupled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 6)

    def forward(self, x):
        return self.inner(x), {"extra": 1}


class Body(nn.Module):
    """A linear layer, whatever `middle` is, and a sum."""

    def __init__(self, middle):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.middle = middle

    def forward(self, x):
        out = self.middle(self.first(x))
        return out[0] if isinstance(out, tuple) else out


def test_a_site_is_described_by_what_it_gives():
    (site,) = confirm(nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU()), SiteRequest(path="0"), shape=(2, 3, 6, 5))
    assert (site.layout, site.width, site.sample_shape) == (Layout.NCHW, 7, (7, 4, 3))
    assert (site.id, site.order, site.depth) == ("0", 0, 1.0)


def test_sites_are_ordered_as_they_run_not_as_they_are_declared():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(self.b(x))

    sites = confirm(Reversed(), SiteRequest(path="a"), SiteRequest(path="b"))
    assert [site.id for site in sites] == ["b", "a"]
    assert [site.order for site in sites] == [0, 1]


def test_a_declared_element_of_a_tuple_carries_a_slot():
    (site,) = confirm(Body(Tupled()), SiteRequest(path="middle", output=0))
    assert (site.width, site.output) == (6, 0)


@pytest.mark.parametrize(
    ("middle", "request_", "why"),
    [
        (Tupled(), SiteRequest(path="middle"), "tuple, not a tensor"),
        (Tupled(), SiteRequest(path="middle", output=3), "declared output 3"),
        (Tupled(), SiteRequest(path="middle", output="x"), "declared output 'x'"),
        (nn.Identity(), SiteRequest(path="middel"), 'did you mean "middle"'),
        (nn.Identity(), SiteRequest(path="middle", layout=Layout.NCHW), "none of the layouts"),
        (nn.Identity(), SiteRequest(path=""), "no such submodule"),
        (nn.Identity(), SiteRequest(path="middle", id="items"), "is taken"),
    ],
)
def test_a_site_that_gives_no_tensor_is_refused(middle, request_, why):
    with pytest.raises(EsperError) as caught:
        confirm(Body(middle), request_)
    assert caught.value.code == "E401"
    assert why in str(caught.value)


def test_a_site_that_fires_twice_or_never_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(self.used(x))

    with pytest.raises(EsperError, match="used"):
        confirm(Twice(), SiteRequest(path="used"))
    with pytest.raises(EsperError) as caught:
        confirm(Twice(), SiteRequest(path="unused"))
    assert "never fires" in str(caught.value)


def test_a_shared_module_is_refused():
    model = Body(nn.Identity())
    model.again = model.first
    with pytest.raises(EsperError) as caught:
        confirm(model, SiteRequest(path="first"))
    assert "more than one name" in str(caught.value)


def test_an_integer_output_is_refused():
    class Argmax(nn.Module):
        def forward(self, x):
            return x.argmax(-1, keepdim=True)

    with pytest.raises(EsperError) as caught:
        confirm(Body(Argmax()), SiteRequest(path="middle"))
    assert "floating point" in str(caught.value)


def test_tracing_leaves_modes_buffers_and_the_random_state_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    model[1].eval()
    state, mean = torch.get_rng_state(), model[1].running_mean.clone()
    inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    confirm_sites(model, [SiteRequest(path="0")], lambda m: m(inputs))
    assert [m.training for m in model] == [True, False, True]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(mean, model[1].running_mean)


def test_an_overwritten_activation_is_detected_and_survives_its_seed(make_growth):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            for block in self.blocks:
                x = self.act(block(x))
            return x.mean(dim=(2, 3))

    growth = make_growth(InPlace())
    assert all(site.inplace_successor for site in growth.sites)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.tick(0)
    growth.slot_set.model(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in growth.slot_set.seed_parameters("block0"))


def test_a_root_sequential_is_replaced_under_the_same_keys():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    root = prepare_root(model)
    assert isinstance(root, GrowableSequential)
    assert list(root.state_dict()) == list(model.state_dict())
    inputs = torch.randn(2, 4)
    assert torch.equal(root(inputs), model(inputs))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: nn.DataParallel(nn.Linear(2, 2)), "one process per device"),
        (lambda: torch.jit.script(nn.Linear(2, 2)), "before scripting"),
        (lambda: prepare_root(nn.Module()), "grow a model once"),
        (lambda: type("Own", (nn.Sequential,), {"forward": lambda self, x: x})(nn.Linear(2, 2)), "plain nn.Module"),
    ],
)
def test_what_cannot_be_grown_is_refused_with_an_alternative(make, why):
    with pytest.raises(EsperError) as caught:
        prepare_root(make())
    assert caught.value.code == "E402"
    assert why in str(caught.value)
