"""A host that is rolled back takes another path, and its governor remembers."""

import torch
from attrs import evolve

from esper_core.leyline.actions import WAIT, Action, GovernorMode, Op
from esper_core.leyline.records import plain
from esper_core.leyline.stages import Blend
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.state import capture, restore

GERMINATE = Action(op=Op.GERMINATE, slot="block1", blueprint="random", blend=Blend.LINEAR)


def trained(host: GrowingHost, epochs: int) -> list[float]:
    losses = []
    for _ in range(epochs):
        host.apply(GERMINATE if host.grower.epoch == 1 else WAIT)
        losses.append(host.epoch().evidence.train.loss)
    return losses


def test_a_rolled_back_host_takes_another_path_and_a_restored_one_the_same(plan):
    host = GrowingHost(plan)
    trained(host, 3)
    state = capture(host)
    first = trained(host, 2)

    restore(host, state)
    assert trained(host, 2) == first

    host.rollback(state)
    assert (host.attempt, host.grower.epoch) == (1, 3)
    assert trained(host, 2) != first
    host.rollback(state)
    assert host.attempt == 2


def test_rolling_back_brings_weights_and_seeds_back(plan):
    host = GrowingHost(plan)
    trained(host, 3)
    state = capture(host)
    trained(host, 2)
    host.rollback(state)
    again = capture(host)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in state.tensors.items())
    assert again.record["growth"]["seeds"] == state.record["growth"]["seeds"]


def test_the_governor_remembers_and_holds_back_after_a_rollback(plan):
    host = GrowingHost(plan)
    trained(host, 1)
    state = capture(host)
    host.grower.governor.memory.objections["loss-anomaly"] = 2
    host.grower.governor.memory.best_loss = 0.25
    host.grower.governor.mode = GovernorMode.STOPPED
    host.rollback(state)
    governor = host.grower.governor
    assert governor.mode is GovernorMode.CONSERVATIVE
    assert governor.memory.objections == {"loss-anomaly": 2}
    assert governor.memory.best_loss == 0.25
    assert "attempt 1" in governor.reason


def test_a_later_attempt_is_saved_and_goes_on_bit_for_bit(plan):
    host = GrowingHost(plan)
    trained(host, 2)
    host.rollback(capture(host))
    state = capture(host)
    went_on = trained(host, 2)
    other = GrowingHost(plan)
    other.restore(state)
    assert other.attempt == 1
    assert trained(other, 2) == went_on


def test_the_first_attempt_has_the_streams_that_it_always_had(plan):
    host, other = GrowingHost(plan), GrowingHost(evolve(plan))
    other.begin_attempt(0)
    assert plain(trained(host, 2)) == plain(trained(other, 2))
