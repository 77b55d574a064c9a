"""What can go wrong in the midst of a training: the run survives or ends cleanly, loses nothing, and can go on."""

import json
import os
import shutil
import signal
from math import inf, isfinite, nan

import pytest
import torch
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_core.tolaria.host import GrowingHost

EPOCHS, AT = 6, 3
SETTINGS = (
    f"epochs={EPOCHS}",
    "twin=epochs",
    "host.widths=[4, 8]",
    "batch_size=256",
    "checkpoints.keep=99",
    "checkpoints.every=1",
    "policy.fit_accuracy=1.0",
)
TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}


def esper(*arguments):
    return CliRunner().invoke(cli, [*arguments])


def run_digits(runs, *settings):
    given = (*SETTINGS, f"runs={runs}", *settings)
    return esper("run", "digits", *(part for setting in given for part in ("--set", setting)))


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def events(run):
    return [timeless(json.loads(line)) for line in (run / "events.jsonl").read_text().splitlines()]


def result(run):
    return timeless(json.loads((run / "result.json").read_text()))


def assert_same_run(one, other):
    assert events(one)[1:] == events(other)[1:]
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert result(one) == result(other)


def cut_to(run, epoch):
    """Leave of a run what a kill just after the checkpoint before `epoch` would have left."""
    for checkpoint in (run / "checkpoints").iterdir():
        if int(checkpoint.stem.removeprefix("epoch-")) > epoch:
            checkpoint.unlink()
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (run / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed")
    done = run_digits(runs)
    assert done.exit_code == 0, done.output
    return runs / "digits-1"


@pytest.fixture
def disturb(monkeypatch):
    """Return a function that lets something happen to the grown host in the midst of the epoch `AT`."""

    def install(damage, *, attempts=(0,)):
        train = GrowingHost._train

        def disturbed(host, epoch):
            if host.plan.name == "grown" and epoch >= AT and (epoch == AT or host.attempt) and host.attempt in attempts:
                damage(host)
            return train(host, epoch)

        monkeypatch.setattr(GrowingHost, "_train", disturbed)

    return install


@torch.no_grad()
def nan_loss(host):
    next(host.model.parameters()).view(-1)[0] = nan


def inf_in_optimizer(host):
    next(iter(host.optimizer.state.values()))["momentum_buffer"].view(-1)[0] = inf


@pytest.mark.parametrize("damage", [nan_loss, inf_in_optimizer])
def test_a_run_that_is_rolled_back_recovers_and_says_so(disturb, tmp_path, damage):
    disturb(damage)
    done = run_digits(tmp_path)
    run = tmp_path / "digits-1"
    assert done.exit_code == 0, done.output
    assert "The network was rolled back to an earlier state once." in " ".join(done.output.split())
    assert f"the governor rolled the host back to the state after epoch {AT} (attempt 1)" in done.output
    found = result(run)["hosts"]["grown"]
    assert [(it["attempt"], it["from_epoch"], it["to_epoch"]) for it in found["rollbacks"]] == [(1, AT, AT - 1)]
    assert isfinite(found["test_loss"])
    assert found["epochs"] == EPOCHS == result(run)["hosts"]["twin"]["epochs"]
    (told,) = [event for event in events(run) if event["kind"] == "rollback"]
    assert (told["host"], told["epoch"], told["data"]["attempt"]) == ("grown", AT, 1)
    (raised,) = [event for event in events(run) if event["kind"] == "telemetry_changed"]
    assert (raised["epoch"], raised["data"]["level"]) == (AT, "DEBUG")
    assert "grown was rolled back" in raised["data"]["reason"] or "intervened" in raised["data"]["reason"]
    assert result(run)["telemetry"]["escalations"] == 1
    assert "rolled the host back" in " ".join(esper("show", str(run)).output.split())


def test_it_goes_on_bit_for_bit_from_before_and_after_a_rollback(disturb, tmp_path):
    disturb(nan_loss)
    assert run_digits(tmp_path).exit_code == 0
    whole = tmp_path / "digits-1"
    for epoch in (AT, AT + 1, AT + 2):
        part = tmp_path / str(epoch) / "digits-1"
        shutil.copytree(whole, part)
        cut_to(part, epoch)
        done = esper("run", "--resume", str(part))
        assert done.exit_code == 0, done.output
        assert_same_run(whole, part)


def test_a_run_that_is_lost_again_and_again_is_stopped_and_wrong(disturb, tmp_path):
    disturb(nan_loss, attempts=range(9))
    done = run_digits(tmp_path, "governor.max_rollbacks=1")
    assert done.exit_code == 6, done.output
    found = result(tmp_path / "digits-1")
    assert (found["outcome"], found["hosts"]["grown"]["epochs"]) == ("stopped", AT + 2)
    assert len(found["hosts"]["grown"]["rollbacks"]) == 1


def test_without_rollbacks_it_is_stopped_at_once(disturb, tmp_path):
    disturb(nan_loss)
    assert run_digits(tmp_path, "governor.max_rollbacks=0", "twin=none").exit_code == 6
    assert result(tmp_path / "digits-1")["hosts"]["grown"]["rollbacks"] == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no more memory"), MemoryError("no more memory")])
def test_out_of_memory_ends_a_run_cleanly_and_it_can_go_on(disturb, monkeypatch, undisturbed, tmp_path, error):
    def fail(host):
        raise error

    disturb(fail)
    done = run_digits(tmp_path)
    run = tmp_path / "digits-1"
    assert done.exit_code not in (0, 70), done.output
    assert "no more memory" in done.output
    assert "Traceback" not in done.output
    assert not (run / "result.json").exists()
    monkeypatch.undo()
    done = esper("run", "--resume", str(run))
    assert done.exit_code == 0, done.output
    assert_same_run(undisturbed, run)


def test_sigterm_in_the_midst_of_an_epoch_ends_the_run_after_it(disturb, monkeypatch, undisturbed, tmp_path):
    disturb(lambda host: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    done = run_digits(tmp_path)
    run = tmp_path / "digits-1"
    assert done.exit_code == 130, done.output
    assert f"esper run --resume {run}" in done.output
    assert (result(run)["outcome"], result(run)["hosts"]["grown"]["epochs"]) == ("interrupted", AT + 1)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    assert esper("run", "--resume", str(run)).exit_code == 0
    assert (run / "weights.safetensors").read_bytes() == (undisturbed / "weights.safetensors").read_bytes()
    assert result(run)["hosts"] == result(undisturbed)["hosts"]
