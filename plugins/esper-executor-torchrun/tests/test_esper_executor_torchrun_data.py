"""One host that all processes of a torchrun job train: the run of one process, also where one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner
from safetensors.torch import load_file

from esper_app.cli.root import cli
from esper_core.api import EsperError
from esper_executor_processes.worker import Answer
from esper_executor_torchrun.config import TorchrunConfig
from esper_executor_torchrun.data_parallel import DataParallelExecutor, torchrun_executor
from esper_executor_torchrun.executor import TorchrunExecutor
from esper_executor_torchrun.rank import Rank
from esper_executor_torchrun.ranks import Process
from esper_testing.tiny_host import TinyHost, tiny_plan

BIN = Path(sys.executable).parent
EPOCHS = 10

#: A job waits behind an epoch until it was killed, so that on a quick machine too it is not over by then.
HELD = Path(__file__).parents[3] / "tests" / "held.py"
OPTIONS = {"epochs": EPOCHS, "twin": "none", "checkpoints.every": 1, "sinks.names": '["jsonl"]'}


def options(**more):
    return [word for name, value in {**OPTIONS, **more}.items() for word in ("--set", f"{name}={value}")]


def begin(folder, processes, *command):
    words = [BIN / "torchrun", "--standalone", "--nproc-per-node", str(processes), "-m", "esper_app", *command]
    held = json.dumps({EPOCHS - 3: str(folder / "killed")})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ESPER_TEST_HELD": held}
    return subprocess.Popen(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def killed(folder, job, rank):
    """Kill a process of the job behind its third epoch; return what the job has said."""
    deadline = time.monotonic() + 240
    while not [*folder.glob("runs/ours/checkpoints/epoch-*3.safetensors")]:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the job does not come to its third epoch"
        time.sleep(0.02)
    assert job.poll() is None
    for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
            os.kill(int(pid), signal.SIGKILL)
    (folder / "killed").touch()
    return job.communicate(timeout=240)[0]


def events(folder, name):
    lines = (folder / "runs" / name / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if not event["kind"].startswith("run_")]


@pytest.mark.slow
@pytest.mark.timeout(900)  # three processes that each import torch, on a machine that may be busy
def test_two_processes_train_the_run_of_one_also_behind_a_kill(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["run", "digits", *options(name="alone", **{"executor.name": "serial"})])
    assert done.exit_code == 0, done.output
    shares = {"executor.name": "torchrun", "executor.parallel": "data"}
    words = ("run", "digits", "--plugin-path", HELD, *options(name="ours", **shares))
    said = killed(tmp_path, job := begin(tmp_path, 2, *words), rank=1)
    assert job.returncode != 0
    assert "rank      : 1 (local_rank: 1)" in said
    assert "Signal 9 (SIGKILL)" in said
    # Another number of processes changes nothing.
    job = begin(tmp_path, 1, "run", "--resume", "ours", "--plugin-path", HELD)
    said, _ = job.communicate(timeout=240)
    assert job.returncode == 0, said

    expected, found = events(tmp_path, "alone"), events(tmp_path, "ours")
    assert [(it["kind"], it["slot"], it["epoch"]) for it in found] == [
        (it["kind"], it["slot"], it["epoch"]) for it in expected
    ]
    changes = [it["data"]["target"] for it in expected if it["kind"] == "seed_transition"]
    assert len(changes) >= 6
    epochs = [(a, b) for a, b in zip(found, expected, strict=True) if a["kind"] == "epoch_completed"]
    assert len(epochs) == EPOCHS
    for ours, theirs in epochs:
        for split in ("train", "validation"):
            assert ours["data"][split]["loss"] == pytest.approx(theirs["data"][split]["loss"], rel=1e-4)
            assert ours["data"][split]["samples"] == theirs["data"][split]["samples"]
    weights = load_file(tmp_path / "runs/alone/weights.safetensors")
    for name, tensor in load_file(tmp_path / "runs/ours/weights.safetensors").items():
        assert (tensor - weights[name]).abs().max() <= 1e-4 * weights[name].abs().max(), name


@pytest.fixture
def in_a_job(monkeypatch):
    """The first of two processes; nothing here asks the other one."""
    for name, value in {"RUN_ID": "x", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


class Builder:
    """Makes hosts of their parts, which others may make instead."""

    def __call__(self, plan):
        return TinyHost(plan)

    def made_by(self, make):
        return self


def test_the_option_says_what_the_processes_share(in_a_job):
    assert type(torchrun_executor(TorchrunConfig(), Builder())) is TorchrunExecutor
    assert type(torchrun_executor(TorchrunConfig(parallel="data"), Builder())) is DataParallelExecutor
    with pytest.raises(ValueError, match="is not a valid Parallel"):
        TorchrunConfig(parallel="model")


def test_several_hosts_are_refused(in_a_job):
    executor = DataParallelExecutor(TorchrunConfig(parallel="data"), Builder())
    with pytest.raises(EsperError, match="there are 2 hosts") as caught:
        executor.open([tiny_plan("host1", 1), tiny_plan("host2", 2)])
    assert caught.value.code == "E654"
    executor.close()


def test_hosts_that_nothing_else_can_make_are_refused(in_a_job):
    with pytest.raises(EsperError, match="cannot be trained in shares") as caught:
        DataParallelExecutor(TorchrunConfig(parallel="data"), TinyHost)
    assert caught.value.code == "E654"


class TestWhatTheCopiesSay:
    @pytest.fixture
    def executor(self, in_a_job):
        found = DataParallelExecutor(TorchrunConfig(parallel="data"), Builder())
        found._ranks._processes[1] = Process(1, Rank(number=1, machine="a", pid=7), None)
        return found

    @staticmethod
    def answers(*failures):
        report = TinyHost(tiny_plan("host", 0)).report()
        reports = [evolve(report, failure=text, cause=cause) for text, cause in failures]
        return [Answer(values=(it,)) for it in reports]

    def test_a_host_that_fails_alike_everywhere_is_a_result(self, executor):
        executor._agree(self.answers((None, None), (None, None)))
        executor._agree(self.answers(("its loss is NaN", None), ("its loss is NaN", None)))

    def test_one_that_fails_in_one_process_ends_the_run_with_its_reason(self, executor):
        lost = EsperError("E652", "the processes that train together have lost each other", why="closed by peer")
        with pytest.raises(EsperError, match=r"failed in rank 1 .*: no memory is left") as caught:
            executor._agree(self.answers((lost.what, lost), ("no memory is left", None)))
        assert caught.value.code == "E652"

    @pytest.mark.parametrize("code", ["E651", "E652", "E655"])
    def test_what_concerns_the_processes_is_no_result(self, executor, code):
        error = EsperError(code, "they are not alike", why="head.bias differs")
        with pytest.raises(EsperError, match="bias differs") as caught:
            executor._agree(self.answers((error.what, error), (error.what, error)))
        assert caught.value.code == code
