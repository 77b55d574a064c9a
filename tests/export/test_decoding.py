"""A network that has a decoder's cache and its own way of saving, and has grown."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from esper_core.kasmina.slot import Slot
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_export.decoding import SurroundingsWarning, suit_surroundings
from esper_export.residual_module import residual_module

SITE = Site(id="a", path="a", layout=Layout.BTD, width=4, sample_shape=(5, 4), causal=True)


class Mixing(nn.Module):
    """Looks at other positions behind a normalisation, which takes away what all features have in common."""

    def forward(self, h):
        return nn.functional.layer_norm(h, h.shape[-1:]).cumsum(1)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.config, self.generation_config = SimpleNamespace(use_cache=True), SimpleNamespace(use_cache=True)

    def save_pretrained(self, path):
        raise NotImplementedError


@pytest.mark.parametrize(("seed", "cached"), [(Mixing(), False), (nn.Linear(4, 4), True)])
def test_the_cache_is_off_where_a_seed_looks_at_other_positions(seed, cached):
    plain = Decoder()
    with pytest.warns(SurroundingsWarning, match="from_pretrained"):
        whole = suit_surroundings(plain, [Slot(SITE, seed)], torch.zeros(()))
    assert whole == (set() if cached else {"a"})
    assert (plain.config.use_cache, plain.generation_config.use_cache) == (cached, cached)


def test_what_has_not_grown_is_as_it_was(recwarn):
    plain = Decoder()
    suit_surroundings(plain, [], torch.zeros(()))
    assert plain.config.use_cache
    assert not recwarn.list


class Cache:
    """As transformers' caches: it knows how many positions it holds."""

    length = 0

    def get_seq_length(self):
        return self.length


class Block(nn.Module):
    def forward(self, h, cache=None, **kwargs):
        if cache is not None:
            cache.length += h.shape[1]
        return h


@pytest.mark.parametrize("by_name", [True, False])
def test_part_of_a_sequence_is_refused_where_a_seed_looks_at_the_rest(by_name):
    cache, grown = Cache(), residual_module(Block(), Mixing(), None, whole=True)

    def decode(h):
        return grown(h, cache=cache) if by_name else grown(h, cache)

    h = torch.randn(2, 5, 4)
    torch.testing.assert_close(decode(h[:, :4]), grown(h[:, :4]))  # nothing is in the cache before
    with pytest.raises(EsperError, match="cannot decode with a cache") as caught:
        decode(h[:, 4:])
    assert (caught.value.code, "all 5 positions, and is shown 1" in caught.value.why) == ("E512", True)


def test_a_seed_that_looks_at_its_own_position_may_have_a_cache():
    cache, grown = Cache(), residual_module(Block(), nn.Linear(4, 4), None)
    h = torch.randn(2, 5, 4)
    parts = [grown(part, cache=cache) for part in h.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), grown(h))
