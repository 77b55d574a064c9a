"""What is special about noop."""

import torch

from esper_blueprint_noop.module import Noop
from esper_blueprint_noop.plugin import esper_blueprints
from esper_core.api import Catalogue, CatalogueEntry, Layout, Site

SITE = Site(id="block1", path="blocks.1", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6))


def test_adds_zero_even_to_what_is_not_finite() -> None:
    h = torch.full((2, 8, 6, 6), float("nan"))
    assert torch.equal(Noop(SITE)(h), torch.zeros(2, 8, 6, 6))


def test_no_policy_may_germinate_it() -> None:
    (spec,) = esper_blueprints()
    entry = CatalogueEntry(name=spec.name, layouts=spec.layouts, learnable=spec.learnable)
    assert Catalogue((entry,)).fitting(SITE) == frozenset()
