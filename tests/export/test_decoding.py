"""A network that has a decoder's cache and its own way of saving, and has grown."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from esper_core.kasmina.slot import Slot
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_export.decoding import SurroundingsWarning, suit_surroundings

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
        suit_surroundings(plain, [Slot(SITE, seed)], torch.zeros(()))
    assert (plain.config.use_cache, plain.generation_config.use_cache) == (cached, cached)


def test_what_has_not_grown_is_as_it_was(recwarn):
    plain = Decoder()
    suit_surroundings(plain, [], torch.zeros(()))
    assert plain.config.use_cache
    assert not recwarn.list
