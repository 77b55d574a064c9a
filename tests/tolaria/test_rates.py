"""What a germination does to the learning rates, step by step, and across a resume."""

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esper_core.kasmina.groups import host_groups, seed_group
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.stages import Blend, Stage
from esper_core.tolaria.config import OptimizerConfig, SeedSchedule
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.state import capture, restore

LR, EPOCHS = 0.05, 9


@pytest.fixture
def scheduled(plan):
    """Return a function that makes a host with a seed schedule."""

    def make(name, **options):
        return GrowingHost(evolve(plan, optimizer=OptimizerConfig(lr=LR, seed_schedule=name, **options)))

    return make


def germinate(host, slot="block1"):
    host.apply(Action(op=Op.GERMINATE, slot=slot, blueprint="tanh", blend=Blend.LINEAR))


def rates(host, epoch, step=0):
    """The learning rates that step `step` of `epoch` would have, of the host and of each seed."""
    host.rates.set(host.growth, epoch, step)
    seeds = {
        life.slot: life.seed_id
        for life in host.growth.seeds.values()
        if host.growth.slot_set.seed_parameters(life.slot)
    }
    return host_groups(host.optimizer)[0]["lr"], {
        slot: seed_group(host.optimizer, seed_id)["lr"] for slot, seed_id in seeds.items()
    }


def grown(make, name, germinated=3, **options):
    host = make(name, **options)
    while host.grower.epoch < germinated:
        host.epoch()
    germinate(host)
    host.epoch()
    return host


def host_factor(host, now):
    return warmup_cosine(now, EPOCHS * host.batches.steps, host.batches.steps)


def own_factor(host, now, germinated):
    return restarted_cosine(now, germinated * host.batches.steps, EPOCHS * host.batches.steps)


def test_by_default_the_seed_begins_a_cosine_of_its_own(plan):
    assert plan.optimizer.seed_schedule is SeedSchedule.RESTART_SEED


@pytest.mark.parametrize("epoch", [3, 5, 8])
@pytest.mark.parametrize("name", list(SeedSchedule))
def test_rates_of_host_and_seed(scheduled, name, epoch):
    host = grown(scheduled, name, seed_lr_multiplier=2.0)
    now = epoch * host.batches.steps + 2
    of_host, of_seeds = rates(host, epoch, 2)
    kept, anew = LR * host_factor(host, now), LR * own_factor(host, now, 3)
    assert kept < anew
    expected = {
        SeedSchedule.KEEP: (kept, 2 * kept),
        SeedSchedule.RESTART_SEED: (kept, 2 * anew),
        SeedSchedule.RESTART_ALL: (anew, 2 * anew),
    }
    assert (of_host, of_seeds["block1"]) == expected[name]


@pytest.mark.parametrize("name", list(SeedSchedule))
def test_without_a_germination_the_schedules_do_not_differ(scheduled, name):
    host, plain = scheduled(name), scheduled(SeedSchedule.RESTART_SEED)
    for epoch in range(EPOCHS):
        assert rates(host, epoch, 1) == rates(plain, epoch, 1)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(epoch=st.integers(3, EPOCHS - 1), step=st.integers(0, 4))
def test_a_restart_is_never_below_what_it_replaces_and_ends_at_zero(scheduled, epoch, step):
    host = grown(scheduled, SeedSchedule.RESTART_ALL)
    of_host, of_seeds = rates(host, epoch, step)
    assert of_host == of_seeds["block1"]
    assert LR * host_factor(host, epoch * host.batches.steps + step) <= of_host <= LR
    assert rates(host, EPOCHS)[0] == 0.0


def test_a_warm_up_is_not_cut_short(scheduled):
    host = grown(scheduled, SeedSchedule.RESTART_ALL, germinated=1, warmup_epochs=4)
    steps = host.batches.steps
    assert rates(host, 2)[0] == LR * warmup_cosine(2 * steps, EPOCHS * steps, 4 * steps)
    assert rates(host, 4)[0] == LR
    assert rates(host, 6)[0] == LR * restarted_cosine(6 * steps, 4 * steps, EPOCHS * steps)


@pytest.mark.parametrize("name", list(SeedSchedule))
def test_a_constant_rate_has_nothing_to_begin_anew(scheduled, name):
    host = grown(scheduled, name, schedule="constant")
    assert rates(host, 7) == (LR, {"block1": LR})


@pytest.mark.parametrize("name", list(SeedSchedule))
def test_a_stable_rate_falls_to_zero_over_the_last_share_of_the_run(scheduled, name):
    host = grown(scheduled, name, schedule="stable", decay_share=1 / 3, seed_lr_multiplier=2.0)
    steps = host.batches.steps
    for epoch in range(1, EPOCHS):
        left = EPOCHS * steps - (epoch * steps + 2)
        expected = LR * min(1.0, left / (3 * steps))
        of_host, of_seeds = rates(host, epoch, 2)
        assert of_host == pytest.approx(expected)
        assert of_seeds["block1"] == pytest.approx(2 * expected)
    assert rates(host, EPOCHS)[0] == 0.0


def test_a_stable_rate_warms_up(scheduled):
    host = scheduled(SeedSchedule.KEEP, schedule="stable", warmup_epochs=2)
    warmup = 2 * host.batches.steps
    assert [rates(host, 0, step)[0] for step in (0, 1)] == [LR * (step + 1) / (warmup + 1) for step in (0, 1)]
    assert rates(host, 2)[0] == LR


def test_a_restored_host_goes_on_with_a_stable_rate(scheduled):
    host = grown(scheduled, SeedSchedule.RESTART_SEED, schedule="stable", decay_share=0.9)
    resumed = scheduled(SeedSchedule.RESTART_SEED, schedule="stable", decay_share=0.9)
    restore(resumed, capture(host))
    for epoch in range(host.grower.epoch, EPOCHS):
        assert rates(resumed, epoch, 3) == rates(host, epoch, 3)
    assert resumed.epoch().evidence.train.loss == host.epoch().evidence.train.loss


def test_the_newest_seed_counts_also_when_it_is_culled_and_its_slot_is_free_again(scheduled):
    host = grown(scheduled, SeedSchedule.RESTART_ALL, germinated=2)
    host.apply(Action(op=Op.CULL, slot="block1"))
    for _ in range(4):
        host.epoch()
    assert host.growth.stage("block1") is Stage.DORMANT
    assert rates(host, 7)[0] == LR * own_factor(host, 7 * host.batches.steps, 2)
    germinate(host, "block0")
    host.epoch()
    assert rates(host, 8)[0] == LR * own_factor(host, 8 * host.batches.steps, 7)


def test_a_seed_that_never_trained_begins_nothing_anew(scheduled):
    host = scheduled(SeedSchedule.RESTART_ALL)
    host.epoch()
    germinate(host)
    host.apply(Action(op=Op.CULL, slot="block1"))
    assert host.growth.reports
    assert rates(host, 4)[0] == LR * host_factor(host, 4 * host.batches.steps)


@pytest.mark.parametrize("name", list(SeedSchedule))
def test_a_restored_host_goes_on_with_the_same_rates(scheduled, name):
    host = grown(scheduled, name, germinated=2)
    host.apply(Action(op=Op.CULL, slot="block1"))
    host.epoch()
    germinate(host, "block0")
    host.epoch()
    resumed = scheduled(name)
    restore(resumed, capture(host))
    for epoch in range(host.grower.epoch, EPOCHS):
        assert rates(resumed, epoch, 3) == rates(host, epoch, 3)
    assert resumed.epoch().evidence.train.loss == host.epoch().evidence.train.loss


@pytest.mark.parametrize("name", list(SeedSchedule))
def test_the_schedules_train_what_they_say(scheduled, name):
    """The rates are those with which the optimizer has stepped: the evidence shows the host's."""
    host = grown(scheduled, name)
    report = host.epoch()
    last = 5 * host.batches.steps - 1
    factor = own_factor(host, last, 3) if name is SeedSchedule.RESTART_ALL else host_factor(host, last)
    assert report.evidence.learning_rate == LR * factor
