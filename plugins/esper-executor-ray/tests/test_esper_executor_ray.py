"""Hosts in Ray actors on three nodes, one of which is removed in the middle of an epoch."""

import os
import signal
import sys
import threading
import time

import pytest
import ray
import torch
from attrs import evolve
from ray import cloudpickle
from ray.cluster_utils import Cluster

from esper_core.api import Action, EsperError, HostRunner, Plan
from esper_executor_ray.config import RayConfig
from esper_executor_ray.executor import RayExecutor
from esper_testing.tiny_host import TinyHost, tiny_plan

pytestmark = pytest.mark.slow  # a cluster takes seconds to begin; there is no soak test here

EPOCHS, HOSTS = 5, 3


class Slow(TinyHost):
    """Takes half a second for an epoch, and leaves a file when it begins one."""

    def epoch(self, reference=None):
        if (folder := self._plan.config.get("begins")) and self._epoch == 2:
            open(f"{folder}/{self._plan.name}", "w").close()
            time.sleep(1.0)
        return super().epoch(reference)


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  by default others go before: on a busy machine an actor never begins
    store = 80 << 20
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # an actor does not find the tests
    head = {"num_cpus": 2, "object_store_memory": store, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.extra = [cluster.add_node(num_cpus=2, object_store_memory=store) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def actions(epoch):
    return [[Action(id=f"host{host}/{epoch}/{i}") for i in range(host + 1)] for host in range(HOSTS)]


def alone(plans):
    runners = [HostRunner(plan, TinyHost) for plan in plans]
    for epoch in range(EPOCHS):
        for runner, asked in zip(runners, actions(epoch), strict=True):
            runner.apply(asked)
            runner.epoch(None)
    return runners


def trained(plans, before=lambda epoch, executor: None, **options):
    executor = RayExecutor(RayConfig(**options), Slow)
    try:
        executor.open(plans)
        notices = []
        for epoch in range(EPOCHS):
            executor.apply(actions(epoch))
            before(epoch, executor)
            reports = executor.epoch([None] * HOSTS)
            notices += [notice for report in reports for notice in report.notices]
        return reports, executor.capture(), notices
    finally:
        executor.close()


def assert_as_alone(plans, reports, states):
    for runner, report, state in zip(alone(plans), reports, states, strict=True):
        assert evolve(report, notices=()) == runner.report()
        assert torch.equal(state.tensors["weights"], runner.capture().tensors["weights"])


def test_a_killed_actor_changes_nothing_but_is_said(cluster):
    plans = [tiny_plan(f"host{index}", index) for index in range(HOSTS)]

    def kill(epoch, executor):
        if epoch in (1, 3):
            os.kill(executor.actors.pids()[1], signal.SIGKILL)

    reports, states, notices = trained(plans, kill, capture_every=2)
    assert_as_alone(plans, reports, states)
    assert len(notices) == 2
    assert "it was started again and the host continued" in notices[0]


def test_a_node_that_is_removed_in_an_epoch_changes_nothing(cluster, tmp_path):
    plans = [tiny_plan(f"host{index}", index, begins=str(tmp_path)) for index in range(HOSTS)]
    removing, gone = [], []

    def remove(epoch, executor):
        homes = {executor.actors.worker(place).node for place in range(HOSTS)}
        if epoch == 4:
            assert gone
            assert gone[0] not in homes
        if epoch != 2:
            return
        node = next(it for it in cluster.extra if it.node_id in homes)

        def when_begun():
            while len([*tmp_path.iterdir()]) < HOSTS:
                time.sleep(0.02)
            cluster.remove_node(node, allow_graceful=False)

        gone.append(node.node_id)
        removing.append(threading.Thread(target=when_begun))
        removing[0].start()

    reports, states, notices = trained(plans, remove, capture_every=1)
    removing[0].join()
    assert_as_alone(plans, reports, states)
    assert notices


def test_an_actor_that_finds_no_room_says_what_it_takes(cluster):
    with pytest.raises(EsperError) as caught:
        RayExecutor(RayConfig(cpus=64, start_seconds=2), TinyHost).open([tiny_plan("host", 0)])
    assert caught.value.code == "E541"
    assert "an actor takes 64 CPU of" in caught.value.why


def test_what_keeps_a_host_from_being_built_is_raised(cluster):
    plan = Plan(name="host", seed=0, config={"fails_in": "build"})
    executor = RayExecutor(RayConfig(), TinyHost)
    with pytest.raises(EsperError):
        executor.open([plan])
    executor.close()
