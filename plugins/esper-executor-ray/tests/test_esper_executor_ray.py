"""Hosts in Ray actors on two nodes, one of which is removed in the middle of an epoch.

What Ray begins takes seconds, a process each: so there is one cluster, and one file.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import ray
import torch
from attrs import evolve
from click.testing import CliRunner
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.exceptions import ObjectLostError
from safetensors.torch import load_file

from esper_app.cli.root import cli
from esper_app.execution.waiting import waits_told
from esper_core.api import Action, EsperError, HostRunner
from esper_executor_ray import executor as executors
from esper_executor_ray.actors import Actors, Line
from esper_executor_ray.config import RayConfig
from esper_executor_ray.executor import RayExecutor
from esper_testing import ExecutorSuite
from esper_testing.tiny_host import TinyHost, tiny_plan

EPOCHS, HOSTS = 5, 3


class Doomed(TinyHost):
    """On one node it never comes to the end of an epoch, and leaves a file when it begins it."""

    def epoch(self, reference=None):
        config = self._plan.config
        if self._epoch == 2 and ray.get_runtime_context().get_node_id() == config["node"]:
            open(f"{config['begins']}/{self._plan.name}", "w").close()
            time.sleep(600)
        return super().epoch(reference)


@pytest.fixture(scope="module")
def cluster():
    store = 80 << 20
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # an actor does not find the tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default others go before: on a busy machine an actor never begins
        head = {"num_cpus": 3, "object_store_memory": store, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.extra = cluster.add_node(num_cpus=1, object_store_memory=store)
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


def options(**more):
    settings = {"epochs": 8, "hosts": 2, "twin": "none", "sinks.names": '["jsonl"]', "executor.name": "ray", **more}
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="class")
def shared_actors(cluster):
    """Two actors serve all executors of the suite: beginning one for each check would take minutes."""
    actors = Actors(TinyHost, RayConfig(actors=2, cpus=0.1))
    actors.join()
    actors.open([tiny_plan("a", 0), tiny_plan("b", 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "Actors", lambda build, config: actors)
        yield
    actors.close()


@pytest.mark.slow
@pytest.mark.usefixtures("shared_actors")
class TestRay(ExecutorSuite):
    plugin = "esper-executor-ray"
    level = "contract"  # those of `processes`, which share the code, are checked in full


@pytest.mark.slow
def test_a_run_in_actors_is_bit_for_bit_that_of_one_process(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ray", "serial"):
        done = CliRunner().invoke(cli, ["run", "digits", *options(name=name, **{"executor.name": name})])
        assert done.exit_code == 0, done.output
    for number in (1, 2):
        found, expected = (load_file(f"runs/{it}/hosts/grown-{number}/weights.safetensors") for it in ("ray", "serial"))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    events = [json.loads(line)["kind"] for line in Path("runs/ray/events.jsonl").read_text().splitlines()]
    assert "seed_transition" in events


@pytest.mark.slow
def test_a_killed_actor_and_a_node_that_is_removed_in_an_epoch_change_nothing_but_are_said(cluster, tmp_path):
    doom = {"begins": str(tmp_path), "node": cluster.extra.node_id}
    plans = [tiny_plan(f"host{index}", index, **doom) for index in range(HOSTS)]
    executor = RayExecutor(RayConfig(capture_every=2), Doomed)
    removing = None

    def remove():
        while not [*tmp_path.iterdir()]:
            time.sleep(0.02)
        cluster.remove_node(cluster.extra, allow_graceful=False)

    def homes():
        return {place: executor.actors.worker(place).node for place in range(HOSTS)}

    try:
        executor.open(plans)
        notices = []
        for epoch in range(EPOCHS):
            executor.apply(actions(epoch))
            if epoch == 1:
                on_the_head = next(place for place, node in homes().items() if node != cluster.extra.node_id)
                os.kill(executor.actors.pids()[on_the_head], signal.SIGKILL)
            if epoch == 2:
                assert cluster.extra.node_id in homes().values()
                (removing := threading.Thread(target=remove)).start()
            reports = executor.epoch([None] * HOSTS)
            notices.append([notice for report in reports for notice in report.notices])
        assert cluster.extra.node_id not in homes().values()
        states = executor.capture()
    finally:
        executor.close()
    removing.join()
    for runner, report, state in zip(alone(plans), reports, states, strict=True):
        assert evolve(report, notices=()) == runner.report()
        assert torch.equal(state.tensors["weights"], runner.capture().tensors["weights"])
    assert [bool(told) for told in notices] == [False, True, True, False, False]
    assert "it was started again and the host continued" in notices[1][0]


@pytest.mark.slow
def test_an_actor_that_finds_no_room_says_what_it_takes(cluster, capsys):
    executor = RayExecutor(RayConfig(cpus=64, start_seconds=4), TinyHost)
    with pytest.raises(EsperError) as caught, waits_told(executor, "ray"):
        executor.open([tiny_plan("host", 0)])
    assert caught.value.code == "E541"
    assert "an actor takes 64 CPU of" in caught.value.why
    assert capsys.readouterr().err == "executor ray: waiting for actor 1 of 1, which takes 64 CPU\n"
    assert not executor.waits_for


@pytest.mark.parametrize(
    ("named", "environment", "expected"),
    [(None, None, "local"), (None, "head:6379", "head:6379"), ("auto", None, "auto"), ("auto", "head:6379", "auto")],
)
def test_no_cluster_is_joined_that_nobody_has_named(named, environment, expected, monkeypatch):
    """Ray itself joins the one that was begun last on this machine, and ends whom it serves where that one ends."""

    class AskedError(Exception):
        pass

    def init(address, **options):
        raise AskedError(address)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    executor = RayExecutor(RayConfig(address=named), TinyHost)
    with pytest.raises(AskedError, match=f"^{expected}$"):
        executor.open([tiny_plan("host", 0)])
    assert not executor.waits_for


def test_another_cluster_than_the_one_that_is_there_is_refused(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr("esper_executor_ray.actors._connected", "auto")
    with pytest.raises(EsperError, match=r'to use "head:6379", and this process is connected to "auto"') as refused:
        RayExecutor(RayConfig(address="head:6379"), TinyHost).open([tiny_plan("host", 0)])
    assert refused.value.code == "E541"

    def begun(*_):
        raise InterruptedError

    monkeypatch.setattr(Actors, "_begin", begun)
    for named in (None, "auto"):
        with pytest.raises(InterruptedError):
            RayExecutor(RayConfig(address=named), TinyHost).open([tiny_plan("host", 0)])


def test_an_answer_that_was_lost_with_its_node_is_the_end_of_its_actor(monkeypatch):
    def lost(_):
        raise ObjectLostError("00", None, "")

    monkeypatch.setattr(ray, "get", lost)
    line = Line(actor=None, question="asked")
    with pytest.raises(EOFError):
        line.recv_bytes()
    assert line.ended
