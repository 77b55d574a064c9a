"""Seeds that fail or explode in the middle of a training: they are culled with a reason, and the host stays well."""

import itertools
import math

import pytest
import torch
from attrs import evolve
from torch import nn

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.groups import SEED_KEY
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.actions import Action, GovernorMode, Op
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import MOST_OUTLIERS
from esper_core.leyline.layouts import Layout
from esper_core.leyline.stages import Blend, Cause, Stage
from esper_core.tolaria.governor import GovernorRules
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.measuring import measure

#: A batch of this size is the last one of an epoch: 70 samples in batches of 16.
LAST = 6


class Seed(nn.Module):
    def __init__(self, site):
        super().__init__()
        self.conv = nn.Conv2d(site.width, site.width, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(site.width))

    def forward(self, h):
        return torch.tanh(self.conv(h)) * self.gain.view(-1, 1, 1)


class Rigged(Seed):
    """Does `does` to its update wherever `when` says so: its arguments are the seed and the activation."""

    when = staticmethod(lambda seed, h: False)
    does = staticmethod(lambda seed, h, delta: delta)

    def forward(self, h):
        delta = super().forward(h)
        return self.does(self, h, delta) if self.when(self, h) else delta


def rigged(plan, when, does, **changes):
    kind = type("Kind", (Rigged,), {"when": staticmethod(when), "does": staticmethod(does)})
    entry = CatalogueEntry(name="rigged", layouts=frozenset({Layout.NCHW}))
    lifecycle = evolve(LifecycleConfig(ramp_epochs=1, embargo_epochs=1), **changes)
    return evolve(plan, seed_factories={"rigged": SeedFactory(entry=entry, build=kind)}, lifecycle=lifecycle)


def begin(plan, stage):
    """Return a host whose seed is in this stage."""
    host = GrowingHost(plan)
    action = Action(op=Op.GERMINATE, slot="block0", blueprint="rigged", blend=Blend.LINEAR, id="a")
    assert host.apply(action).verdict.allowed
    while host.growth.stage("block0") is not stage:
        host.epoch()
    return host


def fails(seed, h, delta):
    raise RuntimeError("too late")


def ends(seed, h, delta):
    raise SystemExit(0)


WHEN = {
    "the smaller last batch": lambda seed, h: seed.training and len(h) == LAST,
    "validation": lambda seed, h: not seed.training and len(h) > 3,
}


@pytest.mark.parametrize("stage", [Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY])
@pytest.mark.parametrize("where", ["the smaller last batch", "validation"])
@pytest.mark.parametrize("does", [fails, ends, lambda seed, h, delta: delta[:1]], ids=["raises", "exits", "shape"])
def test_a_seed_that_fails_is_culled_in_that_epoch_and_training_goes_on(plan, stage, where, does):
    on = []
    host = begin(rigged(plan, lambda seed, h: on and WHEN[where](seed, h), does), stage)
    on.append(True)
    report = host.epoch()
    (culled,) = [change for change in report.transitions if change.target is Stage.CULLED]
    assert (culled.slot, culled.cause, culled.epoch) == ("block0", Cause.SAFETY, report.epoch - 1)
    assert "its forward raised" in culled.reason
    (told,) = report.seed_reports
    assert told.final_stage is Stage.CULLED
    assert told.reason == culled.reason
    assert not [group for group in host.optimizer.param_groups if SEED_KEY in group]
    assert not [*host.model.esper.parameters()]
    assert math.isfinite(host.epoch().evidence.validation.loss)
    assert host.finish().seeds[0].reason == culled.reason


def test_no_figure_is_made_of_passes_with_the_seed_and_without(plan):
    """It fails at the second of three batches of validation: all of it is measured again."""
    on = []
    host = begin(rigged(plan, lambda seed, h: on and len(h) == 16 and next(on[0]), fails), Stage.PROBATIONARY)
    on.append(itertools.chain([False, True], itertools.repeat(False)))
    split = host.plan.splits.validation
    found = measure(host.growth.slot_set, host.plan.task, split, [{"block0": 0.0}], batch_size=16)
    assert "too late" in host.growth.slot_set.failures()["block0"]
    assert found.metrics.sample_losses == found.losses[0]


def test_the_cull_is_at_the_same_place_after_a_resume(plan):
    on = [True]
    rig = rigged(plan, lambda seed, h: on and seed.training and len(h) == LAST, fails)
    straight, before = begin_untouched(rig), begin_untouched(rig)
    states = [straight.epoch() for _ in range(4)]
    before.epoch()
    resumed = GrowingHost(rig)
    resumed.restore(before.capture())
    again = [resumed.epoch() for _ in range(3)]
    assert [report.transitions for report in again] == [report.transitions for report in states[1:]]
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def begin_untouched(plan):
    host = GrowingHost(plan)
    host.apply(Action(op=Op.GERMINATE, slot="block0", blueprint="rigged", blend=Blend.LINEAR, id="a"))
    return host


def test_a_fossil_that_fails_ends_the_host_with_its_name(plan):
    on = []
    host = begin(rigged(plan, lambda seed, h: bool(on), ends), Stage.PROBATIONARY)
    host.epoch()
    assert host.apply(Action(op=Op.FOSSILIZE, slot="block0", id="f")).verdict.allowed
    host.epoch()
    on.append(True)
    with pytest.raises(EsperError) as caught:
        host.epoch()
    assert caught.value.code == "E407"
    assert '"rigged"' in str(caught.value)
    assert 'slot "block0"' in str(caught.value)


EXPLOSIONS = {
    "1e30": lambda seed, h, delta: torch.full_like(delta, 1e30),
    "inf": lambda seed, h, delta: torch.full_like(delta, math.inf),
    "nan": lambda seed, h, delta: torch.full_like(delta, math.nan),
    "ten thousand times": lambda seed, h, delta: 1e4 * h.roll(1, -1),
    "a write": lambda seed, h, delta: (h.detach().fill_(math.nan), delta)[1],
}


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("stage", [Stage.BLENDING, Stage.PROBATIONARY])
@pytest.mark.parametrize("explosion", EXPLOSIONS)
def test_an_update_that_explodes_leaves_the_host_as_well_as_without_it(plan, stage, explosion, isolate):
    on = []
    rig = rigged(plan, lambda seed, h: bool(on), EXPLOSIONS[explosion], isolate=isolate, bounded_timeout_epochs=1)
    host, healthy = begin(rig, stage), begin(rig, stage)
    on.append(True)
    report = host.epoch()
    on.clear()
    healthy.apply(Action(op=Op.CULL, slot="block0", id="c"))
    without = healthy.epoch()
    assert all(bool(p.isfinite().all()) for p in host.growth.slot_set.host_parameters)
    assert report.governor is GovernorMode.NORMAL
    assert report.evidence.validation.loss == pytest.approx(without.evidence.validation.loss, abs=0.05)
    (seed,) = report.evidence.seeds
    assert report.transitions[-1].target is Stage.CULLED
    if explosion != "a write":
        assert seed.bounded == 1.0
        assert "2 times as large as the activation" in report.transitions[-1].reason


def test_a_seed_at_its_bound_is_not_kept_and_is_culled_after_its_time(plan):
    on = []
    rig = rigged(plan, lambda seed, h: bool(on), lambda s, h, d: 3 * h.roll(1, -1), bounded_timeout_epochs=2)
    host = begin(rig, Stage.PROBATIONARY)
    host.epoch()
    assert host.report().states[0].may_fossilize
    on.append(True)
    first = host.epoch()
    assert first.evidence.seeds[0].bounded > MOST_OUTLIERS
    assert not first.states[0].may_fossilize
    assert not first.evidence.gates["block0"][0].passed
    assert "bounded" in first.evidence.gates["block0"][0].reason
    second = host.epoch()
    assert second.transitions[-1].target is Stage.CULLED
    assert "2 epochs in a row" in second.transitions[-1].reason


def test_an_epoch_within_the_bound_begins_the_count_again_and_the_count_is_saved(plan):
    on = []
    rig = rigged(plan, lambda seed, h: bool(on), lambda s, h, d: 3 * h.roll(1, -1), bounded_timeout_epochs=2)
    host = begin(rig, Stage.PROBATIONARY)
    for bounded in (True, False, True):
        on[:] = [True] if bounded else []
        assert not host.epoch().transitions
    again = GrowingHost(rig)
    again.restore(host.capture())
    assert again.epoch().transitions[-1].target is Stage.CULLED


def test_a_fossil_that_turns_nan_is_seen_by_the_governor(plan):
    on = []
    plan = evolve(plan, governor=GovernorRules(max_rollbacks=0))
    host = begin(rigged(plan, lambda seed, h: bool(on), EXPLOSIONS["nan"]), Stage.PROBATIONARY)
    host.epoch()
    host.apply(Action(op=Op.FOSSILIZE, slot="block0", id="f"))
    host.epoch()
    on.append(True)
    report = host.epoch()
    assert report.governor is GovernorMode.STOPPED
    assert "nan" in report.governor_reason
