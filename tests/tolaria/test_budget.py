"""A budget of floating-point operations: when a host is through, how its rates follow, and across a resume."""

import pytest
import torch
from attrs import evolve

from esper_core.kasmina.groups import host_groups, seed_group
from esper_core.leyline.actions import Action, GovernorMode, Op
from esper_core.leyline.stages import Blend
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.flops import FlopsMeter
from esper_core.tolaria.governor import GovernorRules
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.state import rollback

MANY = 1000


@pytest.fixture
def each(plan):
    """What an epoch of the host without seeds costs."""
    host = GrowingHost(plan)
    host.epoch()
    return host.grower.compute.total


@pytest.fixture
def budgeted(plan, each):
    """Return a function that makes a host with a budget of so many epochs without seeds."""

    def make(epochs, **changes):
        optimizer = OptimizerConfig(lr=0.05, **changes)
        return GrowingHost(evolve(plan, epochs=MANY, flops=epochs * each, optimizer=optimizer))

    return make


def germinate(host, slot="block1"):
    host.apply(Action(op=Op.GERMINATE, slot=slot, blueprint="tanh", blend=Blend.LINEAR))


def through(host):
    while not (report := host.epoch()).through:
        assert report.evidence is not None
    return report


def lr(host):
    return host_groups(host.optimizer)[0]["lr"]


@pytest.mark.parametrize(("budget", "epochs"), [(0.5, 1), (4, 4), (4.5, 5)])
def test_a_host_is_through_with_the_epoch_in_which_its_budget_is_spent(budgeted, budget, epochs):
    host = budgeted(budget)
    report = through(host)
    assert report.epoch == epochs
    assert report.budget_share == pytest.approx(epochs / budget)
    before = [parameter.clone() for parameter in host.model.parameters()]
    idle = host.epoch()
    assert (idle.epoch, idle.evidence) == (epochs, None)
    assert all(map(torch.equal, before, host.model.parameters()))


def test_growing_takes_of_it_so_that_there_are_fewer_epochs(budgeted):
    bare, grown = budgeted(8), budgeted(8)
    germinate(grown)
    assert through(grown).epoch < through(bare).epoch == 8


def test_the_number_of_epochs_is_a_limit_beside_it(plan, each):
    host = GrowingHost(evolve(plan, epochs=3, flops=100 * each))
    for _ in range(4):
        report = host.epoch()
    assert (report.epoch, report.evidence) == (3, None)
    assert report.budget_share == pytest.approx(0.03)


@pytest.mark.parametrize("schedule", ["cosine", "stable"])
def test_the_rate_goes_down_over_the_budget_and_not_over_the_epochs(budgeted, schedule):
    host = budgeted(10, schedule=schedule)
    rates = []
    while host.grower.epoch < 10:
        host.epoch()
        rates.append(lr(host))
    assert rates[1] == pytest.approx(0.05, rel=0.05)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.25 * rates[1]


def test_where_nothing_else_is_paid_for_they_are_nearly_those_of_as_many_epochs(plan, each):
    # Of an epoch the evaluation is paid at its end, so the places differ by less than its share.
    by_budget = GrowingHost(evolve(plan, epochs=MANY, flops=6 * each))
    by_epochs = GrowingHost(evolve(plan, epochs=6))
    for _ in range(6):
        by_budget.epoch()
        by_epochs.epoch()
        assert lr(by_budget) == pytest.approx(lr(by_epochs), abs=0.05 * plan.optimizer.lr)


def test_a_warmup_is_as_long_as_in_any_run(budgeted):
    host = budgeted(6, warmup_epochs=2)
    rates = []
    for epoch in range(2):
        for step in range(host.batches.steps):
            host.rates.set(host.growth, epoch, step)
            rates.append(lr(host))
    steps = 2 * host.batches.steps
    assert rates == pytest.approx([0.05 * (step + 1) / (steps + 1) for step in range(steps)])


@pytest.mark.parametrize("schedule", ["restart-seed", "restart-all"])
def test_a_seed_begins_its_cosine_at_the_place_where_it_germinated(budgeted, schedule):
    host = budgeted(12, seed_schedule=schedule, warmup_epochs=0)
    for _ in range(4):
        host.epoch()
    germinate(host)
    host.epoch()
    seed_id = host.growth.seeds["block1"].seed_id
    host.rates.set(host.growth, 4, 0)
    assert seed_group(host.optimizer, seed_id)["lr"] == 0.05
    assert (lr(host) == 0.05) is (schedule == "restart-all")
    through(host)
    assert seed_group(host.optimizer, seed_id)["lr"] < 0.1 * 0.05


def test_only_the_epochs_that_matter_are_remembered(budgeted):
    host = budgeted(30, warmup_epochs=0)
    for _ in range(5):
        host.epoch()
    germinate(host)
    for _ in range(5):
        host.epoch()
    assert [*host.rates.begun] == [0, 5]


def test_a_resumed_host_goes_on_bit_for_bit(budgeted):
    whole, other = budgeted(9), budgeted(9)
    for epoch in range(5):
        if epoch == 3:
            germinate(whole)
        whole.epoch()
    other.restore(whole.capture())
    assert other.rates.begun == whole.rates.begun
    assert other.report().budget_share == whole.report().budget_share > 0
    assert through(other).epoch == through(whole).epoch
    for mine, its in zip(whole.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_after_a_rollback_what_was_spent_stays_spent(plan, each):
    rules = GovernorRules(max_rollbacks=1)
    host = GrowingHost(evolve(plan, epochs=MANY, flops=9 * each, governor=rules))
    for _ in range(2):
        host.epoch()
    kept = host.snapshot
    germinate(host)
    host.epoch()
    share, begun = host.report().budget_share, dict(host.rates.begun)
    rollback(host, kept, "a trial")
    assert host.report().budget_share == share
    assert host.rates.begun == begun
    assert through(host).epoch < 9


def test_fossils_are_measured_in_the_last_epoch_also_where_counterfactuals_spend_the_rest(budgeted, each, monkeypatch):
    host, asked = budgeted(1.5), []
    collect, measured = host.grower.collect, host._flops.measured

    def dear(collected):
        measured(collected)
        host._flops._add(counterfactuals=each)

    def counting(*args, last, **more):
        asked.append(last)
        return collect(*args, last=last, **more)

    monkeypatch.setattr(host.grower, "collect", counting)
    monkeypatch.setattr(host._flops, "measured", dear)
    assert host.epoch().through
    assert asked == [False, True]


def test_a_host_whose_operations_cannot_be_counted_any_more_is_stopped_and_says_why(budgeted, monkeypatch):
    host = budgeted(5)
    host.epoch()
    monkeypatch.setattr(FlopsMeter, "_seed", lambda self, slot: None)
    germinate(host)
    report = host.epoch()
    assert report.governor is GovernorMode.STOPPED
    assert "cannot be counted" in report.governor_reason
