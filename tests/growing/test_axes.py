"""What a site is, is found out on the traced batch: axes, samples, causality, dtype, batch size; or it is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import SiteRequest
from esper_growing.sites.axes import TracedBatch
from esper_growing.sites.confirming import confirm


class Body(nn.Module):
    """Calls a function of the module on its input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.body = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.body(self, x)


def found(model, batch, path="site", **declared):
    torch.manual_seed(0)
    return confirm(model, [SiteRequest(path=path, **declared)], TracedBatch((batch,)))


def tokens(*shape):
    return torch.randint(0, 11, shape, generator=torch.Generator().manual_seed(0))


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def sequence_model(mixes):
    torch.manual_seed(0)
    return Body(lambda m, x: m.site(m.mix(m.embed(x))), embed=nn.Embedding(11, 8), mix=mixes, site=nn.Linear(8, 8))


class Mean(nn.Module):
    def forward(self, h):
        return h + h.mean(1, keepdim=True)


class RunningMean(nn.Module):
    def forward(self, h):
        return h.cumsum(1) / torch.arange(1, h.shape[1] + 1)[:, None]


@pytest.mark.parametrize(("mixes", "causal"), [(Mean(), False), (RunningMean(), True), (nn.Identity(), True)])
def test_it_is_found_out_whether_positions_see_the_future(mixes, causal):
    (site,) = found(sequence_model(mixes), tokens(4, 6)).sites
    assert (site.layout, site.causal, site.width) == (Layout.BTD, causal, 8)


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_declared_of_the_future_is_believed(declared):
    (site,) = found(sequence_model(Mean()), tokens(4, 6), causal=declared).sites
    assert site.causal is declared


def test_positions_of_which_it_is_not_known_what_they_see_are_taken_for_causal():
    model = Body(
        lambda m, x: m.site(m.embed(x) + m.place),
        embed=nn.Embedding(11, 8),
        site=nn.Linear(8, 8),
    )
    model.place = nn.Parameter(numbers(6, 8))  # another length does not fit
    (site,) = found(model, tokens(4, 6)).sites
    assert (site.layout, site.causal) == (Layout.BTD, True)


def test_channels_in_front_of_positions_are_refused():
    model = Body(lambda m, x: m.site(F.pad(x, (2, 0))), site=nn.Conv1d(1, 8, 3))
    with pytest.raises(EsperError, match="does not have its features in axis 2") as caught:
        found(model, numbers(4, 1, 9))
    assert caught.value.code == "E401"


def test_channels_behind_an_image_are_refused():
    model = Body(lambda m, x: m.site(x.permute(0, 2, 3, 1)), site=nn.Linear(3, 8))
    with pytest.raises(EsperError, match="does not have its features in axis 1"):
        found(model, numbers(4, 3, 8, 8))


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (5, 5)])
def test_samples_in_the_second_axis_are_refused(shape):
    model = Body(
        lambda m, x: m.site(m.mix(m.embed(x).transpose(0, 1))[0]),
        embed=nn.Embedding(11, 8),
        mix=nn.LSTM(8, 8),
        site=nn.Linear(8, 8),
    )
    with pytest.raises(EsperError, match="not the axis of the samples"):
        found(model, tokens(*shape))


def test_positions_that_come_in_the_first_axis_are_refused():
    model = Body(
        lambda m, x: m.site(m.mix(m.embed(x))[0]), embed=nn.Embedding(11, 8), mix=nn.LSTM(8, 8), site=nn.Linear(8, 8)
    )
    with pytest.raises(EsperError, match="not the axis of the samples"):
        found(model, tokens(6, 4))


def test_the_layout_is_asked_for_by_name_where_nothing_tells_it():
    model = Body(lambda m, x: m.site(m.embed(x).reshape(len(x), 3, 8)), embed=nn.Linear(4, 24), site=nn.Identity())
    with pytest.raises(EsperError) as caught:
        found(model, numbers(4, 4))
    assert "SiteRequest(path='site', layout='BTD')" in caught.value.fix
    (site,) = found(model, numbers(4, 4), layout="BTD").sites
    assert site.layout is Layout.BTD


def test_an_image_network_of_one_size_is_known_by_its_convolutions():
    model = Body(
        lambda m, x: m.head(m.site(m.conv(x)).flatten(1)),
        conv=nn.Conv2d(1, 4, 3, padding=1),
        site=nn.ReLU(),
        head=nn.Linear(256, 2),
    )
    (site,) = found(model, numbers(4, 1, 8, 8)).sites
    assert (site.layout, site.width) == (Layout.NCHW, 4)


def test_a_model_of_one_batch_size_is_found_out():
    def forward(m, x):
        return m.site(m.lstm(x, (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)))[0][:, -1])

    fixed = Body(forward, lstm=nn.LSTM(6, 8, batch_first=True), site=nn.Linear(8, 8))
    assert found(fixed, numbers(4, 3, 6)).fixed_batch
    assert not found(sequence_model(Mean()), tokens(4, 6)).fixed_batch


def test_what_writes_into_an_activation_in_training_only_is_noticed_and_leaves_no_trace():
    model = Body(
        lambda m, x: m.drop(m.site(m.norm(x))),
        norm=nn.BatchNorm1d(6),
        site=nn.Linear(6, 6),
        drop=nn.Dropout(0.5, inplace=True),
    )
    model.norm.eval()
    before = model.norm.running_mean.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    (site,) = confirm(model, [SiteRequest(path="site")], TracedBatch((numbers(4, 6),))).sites
    assert site.inplace_successor
    assert torch.equal(model.norm.running_mean, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in (model, model.norm, model.drop)] == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_site_has_a_dtype_of_its_own(dtype):
    model = Body(lambda m, x: m.site(m.first(x).to(dtype)), first=nn.Linear(6, 8), site=nn.Linear(8, 8, dtype=dtype))
    assert found(model, numbers(4, 6)).sites[0].dtype == str(dtype).removeprefix("torch.")


def test_a_network_that_draws_random_numbers_is_taken_as_it_is_declared():
    model = Body(lambda m, x: m.site(m.embed(x) + torch.randn(())), embed=nn.Embedding(11, 8), site=nn.Linear(8, 8))
    assert found(model, tokens(4, 6)).sites[0].layout is Layout.BTD
