"""The control of equal compute: what it costs, on which schedule it is trained, and that it goes on where it was."""

import json

import pytest
import torch
from attrs import evolve

from esper_app.api import execute, load_plugins, resolve_run, resume
from esper_app.execution import compute_control
from esper_app.execution.assembly import assemble
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from esper_app.execution.compute_control import epoch_flops
from esper_app.execution.replay import begin_replay
from esper_app.execution.staging import refuse_idle_training
from esper_core.leyline.errors import EsperError
from esper_nissa.context import RunContext
from esper_runs.run_record import read_run_record
from esper_runs.verdict import Judgement, verdict

SETTINGS = {
    "epochs": 4,
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
TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def configured(tmp_path, monkeypatch, plugins):
    monkeypatch.chdir(tmp_path)

    def resolve(**settings):
        given = {key.replace("__", "."): value for key, value in settings.items()}
        return resolve_run("teacher", plugins, settings=SETTINGS | given)

    return resolve


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def events(run):
    lines = (run.directory.path / "events.jsonl").read_text().splitlines()
    found = [timeless(json.loads(line)) for line in lines]
    return [{key: value for key, value in event.items() if key != "sequence"} for event in found]


def happened(run):
    """What happened, without the frame."""
    return [event for event in events(run) if event["kind"] not in ("run_started", "run_finished", "run_resumed")]


def epochs_of(run, host):
    return [it for it in events(run) if it["kind"] == "epoch_completed" and it["host"] == host]


def test_it_costs_what_the_grown_host_has_cost_in_all(configured, plugins):
    run = execute(configured(), plugins)
    hosts, resolved = run.result["hosts"], configured(name="again")
    grown, control = hosts["grown"], hosts["control"]
    assert [*hosts] == ["grown", "twin", "control"]
    assert run.result["controls"] == {"grown": "control"}
    assert sum(grown["compute"][part] for part in ("candidates", "probes", "counterfactuals")) > 0
    each = epoch_flops(assemble(resolved.config, plugins))
    assert control["compute"]["total"] == control["epochs"] * each
    assert 0 <= control["compute"]["total"] - grown["compute"]["total"] < each
    assert control["parameters"] == grown["host_parameters"] < grown["parameters"]
    assert run.result["spent_flops"] == sum(host["compute"]["total"] for host in hosts.values())
    assert len(epochs_of(run, "control")) == control["epochs"] > 4


def test_it_begins_like_the_host_and_has_a_schedule_of_its_own(configured, plugins):
    run = execute(configured(optimizer__warmup_epochs=0), plugins)
    rates = [event["data"]["learning_rate"] for event in epochs_of(run, "control")]
    twin = [event["data"]["learning_rate"] for event in epochs_of(run, "twin")]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]
    assert rates[3] > 5 * twin[3], "the twin is at the end of its schedule, the control is not"


def test_only_it_makes_growing_pay(configured, plugins):
    both = execute(configured(), plugins).result
    assert verdict(both).against == "control"
    assert verdict(both).at_equal_epochs.against == "twin"
    epochs = execute(configured(twin="epochs"), plugins).result
    assert "control" not in epochs["hosts"]
    assert verdict(epochs).judgement not in (Judgement.PAID, Judgement.DID_NOT_PAY)
    compute = execute(configured(twin="compute"), plugins).result
    assert [*compute["hosts"]] == ["grown", "control"]
    assert verdict(compute).against == "control"
    assert compute["hosts"]["control"]["test_loss"] == both["hosts"]["control"]["test_loss"]


@pytest.mark.parametrize(("twin", "stands"), [("both", 3), ("both", 4), ("both", 6), ("compute", 5)])
def test_a_run_goes_on_where_it_was_in_the_control_too(configured, plugins, twin, stands):
    whole = execute(configured(twin=twin), plugins)
    result, said, folder = whole.result, happened(whole), whole.directory.path
    assert result["hosts"]["control"]["epochs"] >= 3
    last = load_checkpoint(newest_checkpoint(folder / "checkpoints"))
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (folder / name).unlink()
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem.removeprefix("epoch-")) > stands:
            path.unlink()
    resumed = resume(whole.directory, configured(twin=twin), plugins)
    assert timeless(resumed.result["hosts"]) == timeless(result["hosts"])
    assert resumed.result["compute_difference"]["test_gain"] == result["compute_difference"]["test_gain"]
    assert happened(resumed) == said
    again = load_checkpoint(newest_checkpoint(folder / "checkpoints"))
    for host, state in last.hosts.items():
        assert all(torch.equal(tensor, again.hosts[host].tensors[name]) for name, tensor in state.tensors.items()), host


@pytest.mark.parametrize(("twin", "why"), [("both", "cannot be restored"), ("epochs", "it stands before epoch 9 of 4")])
def test_a_checkpoint_behind_the_last_epoch_without_a_control_is_damaged(configured, plugins, twin, why):
    run = execute(configured(twin=twin, epochs=4), plugins)
    folder = run.directory.path / "checkpoints"
    (run.directory.path / "result.json").unlink()
    untrue = evolve(load_checkpoint(folder / "epoch-000003.safetensors"), epoch=9)
    for path in folder.iterdir():
        path.unlink()
    save_checkpoint(folder, untrue, keep=1)
    with pytest.raises(EsperError, match=why) as caught:
        resume(run.directory, configured(twin=twin), plugins)
    assert caught.value.code == "E509"


def test_a_control_that_was_cut_short_is_not_compared_with(configured, plugins, monkeypatch):
    whole = execute(configured(name="whole"), plugins)
    asked = []

    def should_stop(self):
        asked.append(None)
        return len(asked) == 6  # after the second epoch of the control

    with monkeypatch.context() as patched:
        patched.setattr(RunContext, "should_stop", should_stop)
        cut = execute(configured(name="cut"), plugins)
    assert cut.interrupted
    assert [*cut.result["hosts"]] == ["grown", "twin"]
    assert verdict(cut.result).against == "twin"
    resumed = resume(cut.directory, configured(name="cut"), plugins)
    assert timeless(resumed.result["hosts"]) == timeless(whole.result["hosts"])
    record = read_run_record(resumed.directory)
    assert record.epochs_done == 4
    assert record.growing == ("grown",)


@pytest.mark.slow
def test_each_of_several_hosts_has_its_own_in_processes_too(configured, plugins):
    serial = execute(configured(hosts=2), plugins)
    elsewhere = execute(configured(hosts=2, executor__name="processes", executor__workers=2), plugins)
    assert serial.result["controls"] == {"grown-1": "control-1", "grown-2": "control-2"}
    assert timeless(serial.result["hosts"]) == timeless(elsewhere.result["hosts"])
    for number in (1, 2):
        grown, control = (serial.result["hosts"][f"{name}-{number}"] for name in ("grown", "control"))
        assert control["compute"]["total"] >= grown["compute"]["total"]
    assert len({host["epochs"] for name, host in serial.result["hosts"].items() if "control" in name}) == 2, (
        "one has epochs left while the other is through"
    )


def test_where_nothing_germinated_the_host_is_its_own_control(plugins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {key: value for key, value in SETTINGS.items() if key != "policy.germination"}
    run = execute(resolve_run("teacher", plugins, settings=settings | {"policy.name": "null"}), plugins)
    assert [*run.result["hosts"]] == ["grown", "twin"]
    assert verdict(run.result).judgement is Judgement.NOTHING_GREW


def test_what_cannot_be_counted_has_no_control_and_says_so(configured, plugins, monkeypatch):
    monkeypatch.setattr(compute_control, "epoch_flops", lambda _: None)
    run = execute(configured(), plugins)
    assert [*run.result["hosts"]] == ["grown", "twin"]
    said = [event["data"]["message"] for event in events(run) if event["kind"] == "notice"]
    assert "grown has no control of equal compute: its floating-point operations cannot be counted" in said


@pytest.mark.parametrize("twin", ["both", "compute"])
def test_a_policy_is_neither_trained_nor_judged_with_one(configured, plugins, twin):
    resolved = resolve_run(
        "teacher", plugins, settings={"policy.name": "ppo", "rewards.preset": "shaped", "twin": twin}
    )
    with pytest.raises(EsperError, match=f'"twin" is "{twin}"'):
        refuse_idle_training(assemble(resolved.config, plugins))
    with pytest.raises(EsperError, match=f'"twin" is "{twin}"'):
        begin_replay(resolved, plugins)
