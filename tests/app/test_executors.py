"""A run with another executor, which takes the hosts to other processes, is the same run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from attrs import evolve

from esper_app.api import Selection, execute, load_plugins, resolve_run, resume
from esper_app.execution.assembly import assemble
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint
from esper_app.execution.host_builder import RunHostBuilder
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain

PLUGIN = """
from esper_core.hooks import hookimpl
from esper_core.specs import ExecutorSpec

ESPER_API = "2.0"


@hookimpl
def esper_executors():
    yield ExecutorSpec(
        name="spawned", summary="Processes of their own.", factory="esper_executor_spawned.executor:SpawnedExecutor"
    )
"""
SETTINGS = {
    "epochs": 5,
    "twin": "epochs",
    "policy.name": "random",
    "policy.germination": 1.0,
    "policy.blueprints": ["conv-light"],
    "lifecycle.ramp_epochs": 1,
    "gates.name": "permissive",
    "sinks.names": ["jsonl"],
    "checkpoints.every": 1,
    "task.train_samples": 64,
    "task.validation_samples": 32,
    "task.test_samples": 32,
}
TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}


@pytest.fixture
def spawned(install):
    source = Path(__file__).with_name("spawned_executor.py").read_text()
    install("esper-executor-spawned", code=PLUGIN, files={"executor.py": source})


@pytest.fixture
def configured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def resolve(executor, plugins, **settings):
        return resolve_run("teacher", plugins, settings=SETTINGS | {"executor.name": executor} | settings)

    return resolve


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def events(run):
    return [timeless(json.loads(line)) for line in (run.directory.path / "events.jsonl").read_text().splitlines()]


def tensors(run):
    checkpoint = load_checkpoint(newest_checkpoint(run.directory.path / "checkpoints"))
    return {(host, name): value for host, state in checkpoint.hosts.items() for name, value in state.tensors.items()}


@pytest.mark.slow
def test_hosts_in_other_processes_give_the_same_run_bit_for_bit(spawned, configured):
    plugins = load_plugins(Selection())
    serial = execute(configured("serial", plugins), plugins)
    elsewhere = execute(configured("spawned", plugins), plugins)

    assert events(serial)[1:-1] == events(elsewhere)[1:-1]
    assert any(event["kind"] == "seed_transition" for event in events(serial))
    assert timeless(serial.result["hosts"]) == timeless(elsewhere.result["hosts"])
    here, there = tensors(serial), tensors(elsewhere)
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    manifest = json.loads((elsewhere.directory.path / "manifest.json").read_text())
    (entry,) = [it for it in manifest["plugins"] if it["distribution"] == "esper-executor-spawned"]
    assert entry["used"] == [{"kind": "executor", "name": "spawned"}]


@pytest.mark.slow
def test_a_run_in_other_processes_goes_on_as_the_run_that_was_left_alone(spawned, configured):
    plugins = load_plugins(Selection())
    resolved = configured("spawned", plugins)
    whole = execute(resolved, plugins)
    expected, log = tensors(whole), events(whole)
    path = whole.directory.path
    (path / "result.json").unlink()
    newest_checkpoint(path / "checkpoints").unlink()

    resumed = resume(whole.directory, resolved, plugins)

    assert events(resumed)[1:-1] == log[1:-1]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors(resumed).items())


def test_what_is_sent_to_another_process_is_names_and_a_configuration(configured):
    plugins = load_plugins(Selection())
    assembly = assemble(configured("serial", plugins).config, plugins)
    builder, plan = RunHostBuilder.of(plugins, assembly), assembly.plan("grown")

    sent = pickle.dumps((builder, plan))
    other, same_plan = pickle.loads(sent)

    assert json.loads(json.dumps(same_plan.config)) == plan.config
    assert other.assembly is None
    assert len(sent) < 10_000
    here, there = builder(plan), other(same_plan)
    assert timeless(plain(here.epoch().evidence)) == timeless(plain(there.epoch().evidence))
    assert here.plan.splits is assembly.splits
    assert there.plan.splits is not assembly.splits


def test_hosts_of_one_process_share_their_data(configured, monkeypatch):
    plugins = load_plugins(Selection())
    one = assemble(configured("serial", plugins).config, plugins)
    builder = pickle.loads(pickle.dumps(RunHostBuilder.of(plugins, one)))
    other = configured("serial", plugins, **{"optimizer.lr": 0.3}).config.tree()
    hosts = [builder(one.plan("a")), builder(one.plan("b")), builder(evolve(one.plan("c"), config=other))]
    data = {host.plan.splits.train.inputs.data_ptr() for host in hosts}
    assert len(data) == 1
    assert [host.plan.optimizer.lr for host in hosts] == [one.config.optimizer.lr] * 2 + [0.3]


def test_an_executor_that_is_not_installed_is_named(configured):
    with pytest.raises(EsperError, match=r"E204.*") as raised:
        configured("cluster", load_plugins(Selection()))
    assert "executor" in str(raised.value)


def test_a_host_that_fails_ends_a_run_of_one_with_its_reason(configured, monkeypatch):
    plugins = load_plugins(Selection())

    def broken(*arguments, **named):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("esper_core.tolaria.host.train_epoch", broken)
    with pytest.raises(EsperError, match='host "twin" has failed in epoch 1: RuntimeError: out of memory') as raised:
        execute(configured("serial", plugins), plugins)
    assert raised.value.code == "E540"
    assert isinstance(raised.value.__cause__, RuntimeError)
