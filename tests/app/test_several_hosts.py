"""Runs with several hosts: the same run with each executor, each host beside its twin, and what is written of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attrs import evolve
from click.testing import CliRunner

from esper_app.api import Selection, execute, load_plugins, resolve_run, resume
from esper_app.cli.root import cli
from esper_app.configuration import executors
from esper_app.execution.assembly import assemble
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint
from esper_app.execution.host_builder import RunHostBuilder
from esper_app.execution.run_hosts import run_hosts
from esper_app.execution.shared_data import SharedData
from esper_app.exit_codes import exit_code_of
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.protocols import Split, Splits
from esper_executor_processes.executor import ProcessesExecutor

SETTINGS = {
    "hosts": 3,
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


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(Selection())


@pytest.fixture
def configured(tmp_path, monkeypatch, plugins):
    monkeypatch.chdir(tmp_path)

    def resolve(**settings):
        given = {key.replace("__", "."): value for key, value in settings.items()}
        return resolve_run("teacher", plugins, settings=SETTINGS | {"executor.name": "serial"} | given)

    return resolve


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def events(run):
    """What happened, without the frame and what an executor had to say."""
    lines = (run.directory.path / "events.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in timeless(event).items() if key != "sequence"}
        for event in map(json.loads, lines[1:-1])
        if event["kind"] != "notice"
    ]


def notices(run):
    lines = (run.directory.path / "events.jsonl").read_text().splitlines()
    return [event["data"]["message"] for event in map(json.loads, lines) if event["kind"] == "notice"]


def tensors(run):
    checkpoint = load_checkpoint(newest_checkpoint(run.directory.path / "checkpoints"))
    return {(host, name): value for host, state in checkpoint.hosts.items() for name, value in state.tensors.items()}


def same_run(one, other):
    assert events(one) == events(other)
    assert timeless(one.result["hosts"]) == timeless(other.result["hosts"])
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_workers_that_are_killed_give_the_run_of_one_process(configured, plugins, monkeypatch):
    serial = execute(configured(), plugins)
    assert any(event["kind"] == "seed_transition" for event in events(serial))
    real, calls = ProcessesExecutor.epoch, []

    def killing(self, references):
        calls.append(self)
        if len(calls) in (4, 7):
            os.kill(self.pool.pids()[len(calls) % 2], signal.SIGKILL)
        return real(self, references)

    monkeypatch.setattr(ProcessesExecutor, "epoch", killing)
    elsewhere = execute(configured(executor__name="processes", executor__workers=2), plugins)
    same_run(serial, elsewhere)
    assert len({executor.pool for executor in calls}) == 1, "twins are in the same processes"
    assert [said for said in notices(elsewhere) if "SIGKILL" in said]
    weights = [path.read_bytes() for path in sorted(serial.directory.path.glob("hosts/*/weights.safetensors"))]
    assert len(weights) == 3
    assert weights == [
        path.read_bytes() for path in sorted(elsewhere.directory.path.glob("hosts/*/weights.safetensors"))
    ]


@pytest.mark.parametrize("twin", ["none", "epochs"])
def test_no_process_is_left_after_a_run(configured, plugins, monkeypatch, twin):
    pools, real = [], ProcessesExecutor.open

    def opening(self, plans):
        reports = real(self, plans)
        pools.append((self.pool, self.pool.pids()))
        return reports

    monkeypatch.setattr(ProcessesExecutor, "open", opening)
    execute(configured(executor__name="processes", epochs=1, twin=twin), plugins)
    assert len(pools) == (1 if twin == "none" else 2)
    for pool, workers in pools:
        assert workers
        assert not pool.pids()
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("serial", "processes"), ("processes", "serial")])
def test_a_run_goes_on_with_another_executor(configured, plugins, first, then):
    whole = execute(configured(executor__name=first), plugins)
    log, expected = events(whole), tensors(whole)
    path = whole.directory.path
    (path / "result.json").unlink()
    newest_checkpoint(path / "checkpoints").unlink()

    resumed = resume(whole.directory, configured(executor__name=then), plugins)

    assert events(resumed) == log
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors(resumed).items())


@pytest.mark.slow
def test_a_run_that_is_killed_with_its_workers_goes_on(configured, plugins, tmp_path):
    whole = execute(configured(), plugins)
    given = SETTINGS | {"executor.name": "processes", "name": "killed"}
    program = "\n".join(
        [
            "import os, signal",
            "from esper_app.api import Selection, execute, load_plugins, resolve_run",
            "from esper_executor_processes.executor import ProcessesExecutor",
            "real, calls = ProcessesExecutor.epoch, []",
            "def epoch(self, references):",
            "    calls.append(0)",
            "    if len(calls) == 7:",
            "        os.kill(os.getpid(), signal.SIGKILL)",
            "    return real(self, references)",
            "ProcessesExecutor.epoch = epoch",
            "plugins = load_plugins(Selection())",
            f"execute(resolve_run('teacher', plugins, settings={given!r}), plugins)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    directory = evolve(whole.directory, path=Path("runs/killed").absolute())
    assert not (directory.path / "result.json").exists()
    resumed = resume(directory, configured(executor__name="processes", name="killed"), plugins)
    same_run(whole, resumed)


def test_each_host_has_the_seed_after_the_one_before_and_a_twin(configured, plugins):
    run = execute(configured(seed=5, epochs=2), plugins)
    manifest = json.loads((run.directory.path / "manifest.json").read_text())
    assert manifest["hosts"] == [
        {"name": f"grown-{number}", "seed": 4 + number, "device": "cpu", "twin": f"twin-{number}"}
        for number in (1, 2, 3)
    ]
    assert manifest["config"]["shared_batches"] is False
    assert list(run.result["differences"]) == ["grown-1", "grown-2", "grown-3"]
    assert run.result["difference"] is None
    second = execute(configured(seed=6, epochs=2, hosts=1), plugins)
    ours, alone = run.result["hosts"]["twin-2"], second.result["hosts"]["twin"]
    assert timeless(ours) == timeless(alone), "a host of several is the host that its seed gives alone"


def test_shared_batches_are_those_of_the_first_seed_and_nothing_else_is_shared(configured, plugins):
    def first_batches(**settings):
        assembly = assemble(configured(epochs=2, **settings).config, plugins)
        builder = RunHostBuilder.of(plugins, assembly)
        hosts = [builder(assembly.plan(f"grown-{index}", index)) for index in range(2)]
        weights = [next(iter(host.model.parameters())) for host in hosts]
        assert not torch.equal(*weights)
        return [next(iter(host.batches.epoch(1)))[0] for host in hosts]

    assert torch.equal(*first_batches(shared_batches=True))
    assert not torch.equal(*first_batches(shared_batches=False))
    shared, own = first_batches(shared_batches=True), first_batches(shared_batches=False)
    assert torch.equal(shared[0], own[0])


def test_a_host_that_fails_is_in_the_result_and_the_others_go_on(configured, plugins, monkeypatch):
    real = RunHostBuilder.__call__

    def build(self, plan):
        host = real(self, plan)
        if plan.name == "grown-2":
            monkeypatch.setattr(host, "_train", lambda epoch: 1 / 0)
        return host

    monkeypatch.setattr(RunHostBuilder, "__call__", build)
    run = execute(configured(epochs=2), plugins)
    assert run.result["hosts"]["grown-2"]["failure"] == "ZeroDivisionError: division by zero"
    assert run.result["hosts"]["grown-1"]["failure"] is None
    assert (run.result["outcome"], run.result["stopped"]) == ("completed", ["grown-2"])
    assert exit_code_of(run.result) is ExitCode.WENT_WRONG
    assert sorted(path.name for path in (run.directory.path / "hosts").iterdir()) == ["grown-1", "grown-3"]


@pytest.mark.parametrize(
    ("settings", "processors", "chosen"),
    [
        ({}, 8, "serial"),
        ({"hosts": 4}, 8, "processes"),
        ({"hosts": 4}, 1, "serial"),
        ({"executor.workers": 2}, 1, "processes"),
        ({"hosts": 4, "executor.name": "serial"}, 8, "serial"),
        ({"hosts": 4, "executor.name": "auto"}, 8, "processes"),
    ],
)
def test_the_executor_is_chosen_by_hosts_and_processors(plugins, monkeypatch, settings, processors, chosen):
    monkeypatch.setattr(executors, "processors", lambda: processors)
    assert resolve_run("teacher", plugins, settings=settings).config.executor.name == chosen


def test_options_on_the_command_line(plugins, monkeypatch):
    shown = CliRunner().invoke(
        cli, ["config", "show", "teacher", "--hosts", "4", "--executor", "processes", "--devices", "cuda:0, cuda:1"]
    )
    assert shown.exit_code == 0, shown.output
    for line in ("hosts = 4", 'devices = ["cuda:0", "cuda:1"]', 'name = "processes"'):
        assert line in shown.output
    for wrong in (
        ["--hosts", "0"],
        ["--devices", "gpu"],
        ["--devices", "cpu,cpu"],
        ["--hosts", "2", "-s", f"seed={2**63 - 1}"],
    ):
        refused = CliRunner().invoke(cli, ["config", "show", "teacher", *wrong])
        assert refused.exit_code == ExitCode.USAGE, refused.output


def test_devices_go_round_and_a_twin_is_where_its_host_is(plugins):
    config = resolve_run("teacher", plugins, settings={"hosts": 3, "devices": ["cuda:0", "cuda:1"]}).config
    assert [host.device for host in run_hosts(config)] == ["cuda:0", "cuda:1", "cuda:0"]
    assembly = assemble(evolve(config, devices=("cpu",), device="cpu"), plugins)
    plans = [evolve(assembly, config=config).plan("twin", index) for index in range(3)]
    assert [plan.config["device"] for plan in plans] == ["cuda:0", "cuda:1", "cuda:0"]


def test_a_device_that_is_not_there_is_named(configured, plugins):
    with pytest.raises(EsperError, match='device "cuda:7" is not available') as raised:
        execute(configured(devices=["cpu", "cuda:7"]), plugins)
    assert raised.value.code == "E202"
    assert not Path("runs").exists()


def test_hosts_in_one_process_may_be_on_devices_of_their_own(configured, plugins):
    one = execute(configured(epochs=2), plugins)
    spread = execute(configured(epochs=2, devices=["cpu"]), plugins)
    same_run(one, spread)


def test_plugins_cannot_be_watched_in_other_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(cli, ["run", "teacher", "--hosts", "2", "--executor", "processes", "--check-plugins"])
    assert refused.exit_code == ExitCode.USAGE
    assert "--executor serial" in refused.output


def test_data_are_mapped_as_they_were():
    images = torch.randn(6, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    splits = [
        Split(inputs=images, targets=torch.arange(6)),
        Split(inputs=torch.randn(5, 7).t(), targets=torch.randn(7, 1, dtype=torch.float64)),
        Split(inputs=torch.empty(0, 3), targets=torch.empty(0, dtype=torch.int64)),
    ]
    shared = SharedData("task", Splits(train=splits[0], validation=splits[1], test=splits[2]))
    mapped = shared.places().splits()
    for ours, theirs in zip(splits, (mapped.train, mapped.validation, mapped.test), strict=True):
        for one, other in ((ours.inputs, theirs.inputs), (ours.targets, theirs.targets)):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype
            assert one.stride() == other.stride() or not one.numel()
            assert other.data_ptr() % 64 == 0
    mapped.train.inputs[:] = 0
    assert torch.equal(shared.places().splits().train.inputs, images), "a write is this process's own"
