"""A run in the processes of a torchrun job: the bits of one process, and what becomes of it where one is killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Client
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from attrs import evolve
from click.testing import CliRunner
from safetensors.torch import load_file

from esper_app.cli.root import cli
from esper_core.api import EsperError
from esper_executor_processes.messages import dumps
from esper_executor_processes.remote_executor import RemoteExecutor
from esper_executor_torchrun.config import TorchrunConfig
from esper_executor_torchrun.executor import TorchrunExecutor
from esper_executor_torchrun.job import Job
from esper_executor_torchrun.meeting import made_in_shares
from esper_executor_torchrun.rank import myself
from esper_executor_torchrun.ranks import Ranks, _come
from esper_executor_torchrun.stragglers import Stragglers
from esper_testing.tiny_host import TinyHost, tiny_plan

BIN = Path(sys.executable).parent
EPOCHS = 12

#: A job waits behind the epochs before its next kill is due, so that on a quick machine too it is not over by then.
HELD = Path(__file__).parents[3] / "tests" / "held.py"
SETTINGS = {"epochs": EPOCHS, "hosts": 2, "twin": "none", "checkpoints.every": 1, "sinks.names": '["jsonl"]'}


def options(**more):
    return [word for name, value in {**SETTINGS, **more}.items() for word in ("--set", f"{name}={value}")]


def killed(folder, number):
    """What is there once a kill has come."""
    return folder / f"killed-{number}"


def begin(folder, kills, *command):
    words = [BIN / "torchrun", "--standalone", "--nproc-per-node", "2", "-m", "esper_app", *command]
    held = {EPOCHS * (number + 1) - 1: str(killed(folder, number)) for number in range(kills)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ESPER_TEST_HELD": json.dumps(held)}
    return subprocess.Popen(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def process_of(job, rank):
    """Return the id of a job's process."""
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    for pid in children:
        if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
            return int(pid)
    raise LookupError(rank)


def epochs_saved(folder):
    return {int(path.stem.removeprefix("epoch-")) for path in folder.glob("runs/ours/checkpoints/epoch-*.safetensors")}


def networks(folder, name):
    found = sorted((folder / "runs" / name / "hosts").rglob("*.safetensors"))
    assert found
    return {str(path.relative_to(folder / "runs" / name)): load_file(path) for path in found}


def figures(folder, name):
    """Return the result without what was measured with a clock."""

    def timeless(value):
        if isinstance(value, dict):
            return {key: timeless(it) for key, it in value.items() if "seconds" not in key and key != "sinks"}
        return [timeless(it) for it in value] if isinstance(value, list) else value

    return timeless(json.loads((folder / "runs" / name / "result.json").read_text()))


def drill(folder, ranks, chance):
    """Kill processes of a job in any moment, go on each time, and compare with a run in one process."""
    epochs = EPOCHS * (len(ranks) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        alone = options(name="alone", epochs=epochs, **{"executor.name": "serial"})
        done = CliRunner().invoke(cli, ["run", "digits", *alone])
    assert done.exit_code == 0, done.output
    command = ("run", "digits", *options(name="ours", epochs=epochs), "--executor", "torchrun")
    seconds = []
    for number, rank in enumerate(ranks):
        job = begin(folder, len(ranks), *command, "--plugin-path", HELD)
        began = max(epochs_saved(folder), default=0)
        deadline = time.monotonic() + 240
        while max(epochs_saved(folder), default=0) <= began and job.poll() is None:
            assert time.monotonic() < deadline, "the job does not come to its first checkpoint"
            time.sleep(0.02)
        time.sleep(chance.random() * 0.3)
        assert job.poll() is None, job.communicate()[0]
        os.kill(process_of(job, rank), signal.SIGKILL)
        began = time.monotonic()
        killed(folder, number).touch()
        said, _ = job.communicate(timeout=240)
        seconds.append(time.monotonic() - began)
        assert job.returncode != 0
        assert f"rank      : {rank} (local_rank: {rank})" in said
        assert "Signal 9 (SIGKILL)" in said
        command = ("run", "--resume", "ours")
    job = begin(folder, len(ranks), *command, "--plugin-path", HELD)
    said, _ = job.communicate(timeout=240)
    assert job.returncode == 0, said
    print(f"\nfrom a kill to the end of its job: at most {max(seconds):.1f} s in {len(seconds)} kills")
    expected, found = networks(folder, "alone"), networks(folder, "ours")
    assert found.keys() == expected.keys()
    for path, tensors in expected.items():
        assert all(torch.equal(found[path][name], tensor) for name, tensor in tensors.items())
    assert figures(folder, "ours") == figures(folder, "alone")


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes that each import torch, on a machine that may be busy
def test_a_job_whose_processes_are_killed_is_bit_for_bit_a_run_of_one_process(tmp_path):
    """The one that decides, then another one; a third is killed where they share batches. Jobs begin slowly."""
    drill(tmp_path, [0, 1], random.Random(0))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_kills(tmp_path):
    for seed in range(1, 5):
        (folder := tmp_path / str(seed)).mkdir()
        chance = random.Random(seed)
        drill(folder, [1, *(chance.randrange(2) for _ in range(4))], chance)


def test_without_torchrun_it_says_how_to_begin(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(EsperError, match="torchrun --nproc-per-node") as caught:
        TorchrunExecutor(TorchrunConfig(), TinyHost)
    assert caught.value.code == "E161"


@pytest.fixture
def alone_in_a_job(monkeypatch):
    """A job of one process needs no store."""
    for name, value in {"RUN_ID": "x", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


class Alone(Ranks):
    """Ranks of which there is one alone."""

    def open(self, plans):
        if not self.size:
            self.size = 1
            self._processes[0] = self._begin_process()

    def _begin_process(self):
        from esper_executor_torchrun.rank import myself
        from esper_executor_torchrun.ranks import Process

        return Process(0, myself(0), self._begin_here())


class Stuck(TinyHost):
    """Comes to the end of an epoch when it is let go."""

    let_go = threading.Event()

    def epoch(self, reference=None):
        assert self.let_go.wait(240)
        return super().epoch(reference)


def test_a_process_that_does_not_answer_is_lost_by_name(alone_in_a_job):
    job = Job.here()
    ranks = Alone(job, Stuck, timeout_seconds=60.0)
    executor = TorchrunExecutor(TorchrunConfig(), Stuck, ranks)
    try:
        executor.open([tiny_plan("host", 0)])
        ranks.timeout_seconds = 0.2  # a sound process takes longer to open where a machine is busy
        with pytest.raises(EsperError, match=r"has not answered for 0\.2 s") as caught:
            executor.epoch([None])
        assert caught.value.code == "E652"
        assert f"rank 0 (process {os.getpid()}" in str(caught.value)
    finally:
        Stuck.let_go.set()
        executor.close()


def test_a_slow_process_is_named_once(alone_in_a_job):
    executor = TorchrunExecutor(TorchrunConfig(), TinyHost, Alone(Job.here(), TinyHost, timeout_seconds=60))
    try:
        executor.open([tiny_plan(f"host{index}", index) for index in range(3)])
        names = {0: "rank 0 (process 1 on a)", 1: "rank 1 (process 2 on b)", 2: "rank 2 (process 3 on b)"}
        executor._ranks.name = names.__getitem__
        told = []
        for _ in range(4):
            reports = RemoteExecutor.epoch(executor, [None] * 3)
            for place, (host, seconds) in enumerate(zip(executor._hosts, (1.0, 5.0, 1.1), strict=True)):
                host.place, host.seconds = place, seconds
            told.append([it.notices for it in executor._with_stragglers([evolve(it, notices=()) for it in reports])])
            for host in executor._hosts:
                host.place = 0
        assert told[0] == [(), (), ()]
        assert told[1] == [(), (f"{names[1]} takes 4.8 times as long for an epoch as the others",), ()]
        assert told[2:] == [[(), (), ()], [(), (), ()]]
    finally:
        executor.close()


def test_nobody_is_slow_beside_a_host_that_trains_no_more(alone_in_a_job):
    executor = TorchrunExecutor(TorchrunConfig(), TinyHost, Alone(Job.here(), TinyHost, timeout_seconds=60))
    try:
        executor.open([tiny_plan(f"host{index}", index) for index in range(2)])
        for _ in range(4):
            reports = RemoteExecutor.epoch(executor, [None] * 2)
            for place, (host, seconds) in enumerate(zip(executor._hosts, (9.0, 0.0), strict=True)):
                host.place, host.seconds = place, seconds
            reports[1] = evolve(reports[1], evidence=None)
            assert [it.notices for it in executor._with_stragglers(reports)] == [(), ()]
            for host in executor._hosts:
                host.place = 0
    finally:
        executor.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x00\x00\x00\x04oops"])
def test_a_stranger_does_not_end_a_job_that_waits_for_its_processes(alone_in_a_job, monkeypatch, said):
    told = {}
    monkeypatch.setattr("esper_executor_torchrun.ranks.store", lambda _: SimpleNamespace(set=told.__setitem__))
    job = evolve(Job.here(), size=2)
    key = f"{job.name}/address"

    def come():
        while key not in told:
            threading.Event().wait(0.01)
        host, port, secret = told[key].split()
        with socket.create_connection((host, int(port))) as stranger, suppress(ConnectionError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(1024):
                pass
        came.append(Client((host, int(port)), authkey=bytes.fromhex(secret)))
        came[0].send_bytes(dumps(myself(1)))

    came = []
    thread = threading.Thread(target=come)
    thread.start()
    try:
        assert {*_come(job, 60.0)} == {1}
    finally:
        thread.join()
        came[0].close()


def test_one_that_shares_batches_is_named_by_its_own_time(alone_in_a_job, monkeypatch):
    made = {}
    monkeypatch.setattr("esper_distributed.run_host.DataParallelHost", lambda plan, **parts: made.update(parts))
    splits = SimpleNamespace(train=SimpleNamespace(inputs=torch.zeros(1)))
    made_in_shares(TorchrunConfig(parallel="data", straggler=3.0), SimpleNamespace(splits=splits))
    assert made["name"] == str(myself(0))
    told = [made["pace"]({"rank 0": 2.0, "rank 1": other}) for other in (7.0, 7.0, 7.0)]
    assert told == [(), ("rank 1 takes 3.5 times as long for an epoch as the others",), ()]
    assert made["pace"]({"rank 0": 2.0, "rank 1": 5.0}) == ()


@pytest.mark.parametrize(
    ("factor", "seconds", "slow"),
    [(2.0, (1.0, 1.1, 5.0), {2}), (6.0, (1.0, 1.1, 5.0), set()), (2.0, (0.1, 0.1, 0.9), set()), (2.0, (1.0,), set())],
)
def test_slow_is_who_takes_many_times_and_a_second_longer_than_the_median_of_the_others(factor, seconds, slow):
    stragglers = Stragglers(factor)
    assert not stragglers.named(enumerate(seconds))
    assert {*stragglers.named(enumerate(seconds))} == slow
