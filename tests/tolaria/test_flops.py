"""What an epoch is said to cost is what a counter counts, or the field's rule says of it."""

import pytest
import torch
from attrs import evolve
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from esper_core.kasmina.cost import count_flops, forward_cost, seed_cost
from esper_core.kasmina.gated import Share
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.evidence import UNKNOWN_COMPUTE, Compute
from esper_core.leyline.protocols import HostBuild
from esper_core.leyline.stages import Blend, Incubation, Stage
from esper_core.tolaria.host import GrowingHost

TRAIN, VALIDATION, BATCH = 70, 40, 16


def germinate(slot, blend=Blend.LINEAR):
    return Action(op=Op.GERMINATE, slot=slot, blueprint="tanh", blend=blend)


def spent(before, after):
    """What an epoch has added."""
    names = ("training", "candidates", "probes", "evaluation", "counterfactuals")
    return Compute(**{name: getattr(after, name) - getattr(before, name) for name in names})


def epoch(host, *actions):
    before = host.grower.compute
    for action in actions:
        assert host.apply(action).verdict.allowed
    evidence = host.epoch().evidence
    assert evidence.compute == host.grower.compute
    return spent(before, evidence.compute)


@pytest.fixture
def bare(plan):
    """FLOPs of one sample through the host without seeds, and through a seed at either slot."""
    host = GrowingHost(plan)
    network = count_flops(host.model.eval(), plan.splits.train.inputs[:1])
    return network, seed_cost(plan.seed_factories["tanh"].build, host.sites[0]).forward_flops


def test_a_host_without_seeds_costs_its_training_and_its_validation(plan, bare):
    network, _ = bare
    found = epoch(GrowingHost(plan))
    assert found == Compute(training=3 * TRAIN * network, evaluation=VALIDATION * network)
    assert found.total == (3 * TRAIN + VALIDATION) * network


def test_a_seed_is_a_candidate_until_it_is_a_fossil(plan, bare):
    network, seed = bare
    host = GrowingHost(plan)
    found = epoch(host, germinate("block0"))
    assert host.growth.stage("block0") is Stage.TRAINING
    assert (found.training, found.candidates) == (3 * TRAIN * network, 3 * TRAIN * seed)
    assert found.probes == 3 * BATCH * (2 * network + seed), "that it leaves the host alone is proved on one batch"
    while host.growth.stage("block0") is not Stage.PROBATIONARY:
        found = epoch(host)
    assert (found.candidates, found.probes) == (3 * TRAIN * seed, 0)

    found = epoch(host, Action(op=Op.FOSSILIZE, slot="block0"))
    assert (found.training, found.candidates) == (3 * TRAIN * (network + seed), 0)


def test_a_gated_seed_costs_its_share_too(plan, bare):
    _, seed = bare
    host = GrowingHost(plan)
    share = seed_cost(Share, host.sites[1]).forward_flops
    assert share > 0
    assert epoch(host, germinate("block1", Blend.GATED)).candidates == 3 * TRAIN * (seed + share)


def test_a_probed_seed_is_trained_by_a_second_pass(plan, bare):
    network, seed = bare
    host = GrowingHost(evolve(plan, lifecycle=evolve(plan.lifecycle, incubation=Incubation.PROBE)))
    found = epoch(host, germinate("block0"))
    assert found.candidates == 0
    second = TRAIN * (2 * (network + seed) + seed)
    assert found.probes == second + 3 * BATCH * (2 * network + seed)


@pytest.mark.parametrize("slots", [["block0"], ["block1"], ["block0", "block1"]], ids="-".join)
def test_what_measuring_costs_is_what_a_counter_counts(plan, slots):
    host = GrowingHost(plan)
    for slot in slots:
        host.apply(germinate(slot))
    for _ in range(3):
        host.epoch()
    assert {host.growth.stage(slot) for slot in slots} == {Stage.PROBATIONARY}
    host.grower.tick()
    before = host.grower.compute
    with FlopCounterMode(display=False) as counter:
        collected = host.grower.collect(host.plan.task, host.plan.splits.validation, last=False)
    host._flops.measured(collected)

    found = spent(before, host.grower.compute)
    assert found.evaluation + found.counterfactuals == counter.get_total_flops()
    assert 0 < found.counterfactuals <= len(slots) * found.evaluation


def test_training_costs_no_more_than_the_rule_says_and_no_less_than_two_thirds(plan, bare):
    network, _ = bare
    host = GrowingHost(plan)
    host.epoch()
    with FlopCounterMode(display=False) as counter:
        host._train(1)
    assert 2 / 3 <= counter.get_total_flops() / (3 * TRAIN * network) <= 1


def test_what_cannot_be_counted_is_not_known(plan):
    class Picky(nn.Module):
        """Takes no single sample."""

        def __init__(self):
            super().__init__()
            self.host = plan.build().module

        def forward(self, x):
            if len(x) < 2:
                raise ValueError("too few")
            return self.host(x)

    def build():
        made = plan.build()
        sites = tuple(evolve(site, path=f"host.{site.path}") for site in made.sites)
        return HostBuild(module=Picky(), sites=sites)

    host = GrowingHost(evolve(plan, build=build))
    evidence = host.epoch().evidence
    assert evidence.compute == evolve(UNKNOWN_COMPUTE, candidates=0, probes=0)
    assert evidence.compute.total is None


def test_it_goes_on_from_where_a_host_was_saved(plan):
    host, resumed = GrowingHost(plan), GrowingHost(plan)
    host.epoch()
    resumed.restore(host.capture())
    assert resumed.epoch().evidence.compute == host.epoch().evidence.compute
    assert host.finish().compute == host.grower.compute


def test_the_cost_of_a_network_is_known_up_to_each_of_its_submodules():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Linear(5, 2))
    cost = forward_cost(network, torch.zeros(3), ["0", "1", "2"])
    assert cost.until == {"0": 24, "1": 24, "2": 64}
    assert cost.total == 84


def test_sums_are_not_known_where_a_part_is_not():
    one, other = Compute(training=3, probes=None), Compute(training=4, candidates=2)
    assert one.plus(other) == Compute(training=7, candidates=2, probes=None)
    assert (one.total, other.total) == (None, 6)
