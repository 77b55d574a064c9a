"""What a seed is asked before it is planted: it bears what goes wrong, and keeps nothing of it."""

import pytest
import torch
from torch import nn

from esper_core.kasmina.growth import Growth
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.layouts import Layout
from esper_core.leyline.stages import Blend, Cause, Stage


class Normalising(nn.Module):
    """Keeps running statistics of what it sees."""

    def __init__(self, site):
        super().__init__()
        self.norm = nn.BatchNorm2d(site.width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, h):
        return self.norm(h)


class FailingInTraining(Normalising):
    def forward(self, h):
        if self.training:
            raise RuntimeError("needs larger batches")
        return super().forward(h)


@pytest.fixture
def germinated(make_growth, host_class):
    def make(build):
        growth: Growth = make_growth(host_class())
        growth.seed_factories["own"] = SeedFactory(
            entry=CatalogueEntry(name="own", layouts=frozenset({Layout.NCHW})), build=build
        )
        growth.germinate("block0", "own", Blend.LINEAR, 0)
        return growth

    return make


def test_a_seed_that_fails_in_training_only_is_culled_with_its_reason(germinated):
    (transition,) = germinated(FailingInTraining).tick(0)
    assert transition.target is Stage.CULLED
    assert transition.cause is Cause.GATE
    assert transition.reason == "in training it raised RuntimeError: needs larger batches"


def test_a_planted_seed_has_seen_nothing(germinated):
    growth = germinated(Normalising)
    growth.tick(0)
    assert growth.stage("block0") is Stage.TRAINING
    norm = growth.slot_set.slots["block0"].seed.norm
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
