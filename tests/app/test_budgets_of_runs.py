"""A run with a budget of floating-point operations: its end, its controls, what is refused, and a resume."""

import json

import pytest
import torch

from esper_app.api import execute, load_plugins, resolve_run, resume
from esper_app.execution import budget
from esper_app.execution.assembly import assemble
from esper_app.execution.budget import check_budget
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint
from esper_app.execution.compute_control import epoch_flops
from esper_core.leyline.errors import EsperError
from esper_runs.board import Board
from esper_runs.run_facts import run_facts
from esper_runs.run_record import read_run_record

SETTINGS = {
    "epochs": 400,
    "twin": "compute",
    "policy.name": "random",
    "policy.germination": 1.0,
    "policy.blueprints": ["conv-light"],
    "lifecycle.ramp_epochs": 1,
    "gates.name": "permissive",
    "sinks.names": ["jsonl"],
    "checkpoints.every": 1,
    "checkpoints.keep": 99,
    "task.train_samples": 64,
    "task.validation_samples": 32,
    "task.test_samples": 32,
    "executor.name": "serial",
}
TIMES = {"time", "monotonic", "seconds", "train_seconds", "measure_seconds"}


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def each(plugins):
    """What an epoch of the ungrown host costs."""
    settings = {key: value for key, value in SETTINGS.items() if key != "epochs"}
    return epoch_flops(assemble(resolve_run("teacher", plugins, settings=settings).config, plugins))


@pytest.fixture
def configured(tmp_path, monkeypatch, plugins, each):
    monkeypatch.chdir(tmp_path)

    def resolve(epochs, **settings):
        given = {key.replace("__", "."): value for key, value in settings.items()}
        return resolve_run("teacher", plugins, settings=SETTINGS | {"flops": float(epochs * each)} | given)

    return resolve


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def notices(run):
    lines = (run.directory.path / "events.jsonl").read_text().splitlines()
    return [event["data"]["message"] for event in map(json.loads, lines) if event["kind"] == "notice"]


def test_it_ends_with_its_budget_is_compared_at_equal_compute_and_goes_on_where_it_was(configured, plugins, each):
    run = execute(configured(5), plugins)
    grown, control = run.result["hosts"]["grown"], run.result["hosts"]["control"]
    assert run.result["outcome"] == "completed"
    assert grown["epochs"] < 5
    assert grown["compute"]["total"] >= 5 * each
    assert grown["compute"]["total"] <= control["compute"]["total"] < grown["compute"]["total"] + each
    assert any("5.0 epochs of the ungrown host, and 400 at most" in message for message in notices(run))
    record = read_run_record(run.directory)
    assert dict(run_facts(record))["budget"].endswith("FLOP for each host")
    assert Board.of_run(record.manifest).epochs is None

    folder = run.directory.path
    last = load_checkpoint(newest_checkpoint(folder / "checkpoints"))
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (folder / name).unlink()
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem.removeprefix("epoch-")) > 2:
            path.unlink()
    resumed = resume(run.directory, configured(5), plugins)
    assert timeless(resumed.result["hosts"]) == timeless(run.result["hosts"])
    again = load_checkpoint(newest_checkpoint(folder / "checkpoints"))
    for host, state in last.hosts.items():
        assert all(torch.equal(tensor, again.hosts[host].tensors[name]) for name, tensor in state.tensors.items()), host


def test_with_a_constant_rate_there_is_a_twin_of_as_many_epochs(configured, plugins):
    run = execute(configured(4, twin="epochs", optimizer__schedule="constant"), plugins)
    hosts = run.result["hosts"]
    assert hosts["twin"]["epochs"] == hosts["grown"]["epochs"] < 4
    assert hosts["twin"]["compute"]["total"] < hosts["grown"]["compute"]["total"]


@pytest.mark.slow
def test_each_of_several_hosts_has_a_budget_of_its_own_in_processes_too(configured, plugins, each):
    settings = {"hosts": 2, "policy__germination": 0.2}
    serial = execute(configured(6, **settings), plugins)
    elsewhere = execute(configured(6, **settings, executor__name="processes", executor__workers=2), plugins)
    assert timeless(serial.result["hosts"]) == timeless(elsewhere.result["hosts"])
    for number in (1, 2):
        assert serial.result["hosts"][f"grown-{number}"]["compute"]["total"] >= 6 * each


@pytest.mark.parametrize(
    ("epochs", "settings", "what", "where"),
    [
        (9, {"twin": "both"}, "there is no twin of equal epochs", "twin"),
        (9, {"twin": "epochs", "optimizer__schedule": "constant", "hosts": 2}, "no twin of equal epochs", "twin"),
        (0.9, {}, "one epoch of the ungrown host takes", "flops"),
    ],
)
def test_what_contradicts_it_is_refused(configured, plugins, epochs, settings, what, where):
    with pytest.raises(EsperError, match=what) as caught:
        check_budget(assemble(configured(epochs, **settings).config, plugins))
    assert (caught.value.code, caught.value.where) == ("E202", where)


def test_a_host_that_cannot_be_counted_has_none(configured, plugins, monkeypatch):
    monkeypatch.setattr(budget, "epoch_flops", lambda assembly: None)
    with pytest.raises(EsperError, match="cannot be counted"):
        check_budget(assemble(configured(3).config, plugins))


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), "much"])
def test_a_budget_is_a_positive_number(configured, value):
    with pytest.raises(EsperError, match="flops") as caught:
        configured(1, flops=value)
    assert caught.value.code == "E202"
