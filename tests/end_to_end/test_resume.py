"""A run that is killed and goes on ends as the run that was left alone."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner
from safetensors import safe_open

from esper_app.cli.root import cli
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from esper_app.execution.run_lock import exclusive
from esper_core.leyline.errors import EsperError
from esper_core.leyline.observation import WINDOW_EPOCHS
from esper_runs.run_directory import RunDirectory

#: Germinates twice, blends, fossilizes one seed and culls another, within fourteen epochs.
SETTINGS = [
    "epochs=14",
    "twin=epochs",
    "host.widths=[4, 8]",
    "seed=3",
    "policy.germinate_until=0.6",
    "policy.fit_accuracy=1.0",
    'policy.blueprints=["conv-light", "group-norm"]',
    "lifecycle.ramp_epochs=1",
    "lifecycle.embargo_epochs=1",
    "lifecycle.probation_timeout_epochs=3",
    "gates.name=permissive",
    "checkpoints.keep=99",
    "checkpoints.every=1",
]
TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}


def command(*arguments):
    return [sys.executable, "-m", "esper_app.cli", "run", *arguments]


def start(runs):
    return command("digits", *(part for s in (*SETTINGS, f"runs={runs}") for part in ("--set", s)))


def invoke(*arguments):
    return CliRunner().invoke(cli, ["run", *arguments])


def events(run):
    return [timeless(json.loads(line)) for line in (run / "events.jsonl").read_text().splitlines()]


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def assert_same_run(one, other):
    assert events(one)[1:] == events(other)[1:]
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert timeless(json.loads((one / "topology.json").read_text())) == json.loads(
        (other / "topology.json").read_text()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that is left alone; it keeps all of its checkpoints."""
    runs = tmp_path_factory.mktemp("whole")
    result = invoke(*start(runs)[4:])
    assert result.exit_code == 0, result.output
    return runs / "digits-1"


def at_epoch(whole, epoch, folder):
    """Return a copy of the run as a kill just after the checkpoint before `epoch` would have left it."""
    run = folder / "digits-1"
    shutil.copytree(whole, run)
    for checkpoint in (run / "checkpoints").iterdir():
        if int(checkpoint.stem.removeprefix("epoch-")) > epoch:
            checkpoint.unlink()
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (run / name).unlink()
    return run


def longest(value):
    """The length of the longest list in plain data."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max([len(value) if isinstance(value, list) else 0, *map(longest, inner)])


def test_a_checkpoint_keeps_nothing_of_single_samples_and_of_the_latest_epochs_only(whole):
    with safe_open(max((whole / "checkpoints").iterdir()), "pt") as checkpoint:
        header = json.loads(checkpoint.metadata()["esper"])
    assert longest(header) <= WINDOW_EPOCHS < 100  # there are hundreds of samples


def test_the_run_has_everything_that_a_resume_must_carry_over(whole):
    targets = {e["data"]["target"] for e in events(whole) if e["kind"] == "seed_transition"}
    assert {"GERMINATED", "TRAINING", "BLENDING", "PROBATIONARY"} <= targets
    assert targets & {"FOSSILIZED", "CULLED"}


@pytest.mark.slow
@pytest.mark.parametrize("epoch", range(1, 15))
def test_a_run_resumed_at_any_epoch_is_the_run_left_alone(whole, tmp_path, epoch):
    run = at_epoch(whole, epoch, tmp_path)
    result = invoke("--resume", str(run))
    assert result.exit_code == 0, result.output
    assert_same_run(whole, run)


def test_a_run_resumed_half_way_is_the_run_left_alone(whole, tmp_path):
    run = at_epoch(whole, 7, tmp_path)
    with (run / "events.jsonl").open("a") as log:
        log.write('{"kind": "epoch_comp')  # a kill in the middle of a line
    result = invoke("--resume", str(run))
    assert result.exit_code == 0, result.output
    assert_same_run(whole, run)
    assert json.loads((run / "manifest.json").read_text())["resumed"][0]["epoch"] == 7
    first, second = (timeless(json.loads((path / "result.json").read_text())) for path in (whole, run))
    assert first["sinks"] == second["sinks"]
    assert first == second


def test_a_checkpoint_beyond_the_end_of_the_run_is_refused(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    path = newest_checkpoint(run / "checkpoints")
    checkpoint = evolve(load_checkpoint(path), epoch=10**9)
    path.unlink()
    save_checkpoint(path.parent, checkpoint, keep=99).rename(path)
    result = invoke("--resume", str(run))
    assert (result.exit_code, "E509" in result.output) == (1, True), result.output
    assert "epoch 1000000000 of 14" in result.output


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: evolve(c, hosts={}),
        lambda c: evolve(c, loop={name: evolve(state, record={}) for name, state in c.loop.items()}),
        lambda c: evolve(c, hosts={n: evolve(s, tensors={}) for n, s in c.hosts.items()}),
        lambda c: evolve(c, hosts={n: evolve(s, record={**s.record, "growth": [1]}) for n, s in c.hosts.items()}),
        lambda c: evolve(c, hosts={n: evolve(s, version=2) for n, s in c.hosts.items()}),
        lambda c: evolve(c, sinks={"jsonl": {"delivered": "many"}}),
    ],
)
def test_a_signed_checkpoint_that_cannot_be_restored_changes_nothing(whole, tmp_path, spoil):
    run = at_epoch(whole, 5, tmp_path)
    path = newest_checkpoint(run / "checkpoints")
    spoilt = spoil(load_checkpoint(path))
    path.unlink()
    save_checkpoint(path.parent, spoilt, keep=99)
    before = {it: it.read_bytes() for it in run.rglob("*") if it.is_file() and it.name != ".lock"}
    result = invoke("--resume", str(run))
    assert result.exit_code in (1, 2), result.output
    assert "error[E5" in result.output, result.output
    assert {it: it.read_bytes() for it in run.rglob("*") if it.is_file() and it.name != ".lock"} == before


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes that each import torch, on a machine that may be busy
def test_a_run_killed_three_times_at_random_is_the_run_left_alone(whole, tmp_path):
    chance = random.Random(5)
    run, arguments, kills = tmp_path / "digits-1", start(tmp_path), 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while kills < 3:
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
            lines = chance.randint(2, 9)
            for _ in process.stdout:
                lines -= 1
                if lines <= 0 and (run / "checkpoints").exists() and any((run / "checkpoints").glob("epoch-*")):
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
        if over := process.returncode == 0 or (run / "result.json").exists():
            break
        arguments = command("--resume", str(run))
    assert kills > 0
    if not over:
        assert subprocess.run(arguments, env=environment, capture_output=True).returncode == 0
    assert_same_run(whole, run)


def damaged(run, change):
    newest = max((run / "checkpoints").iterdir())
    newest.write_bytes(change(newest.read_bytes()))
    return newest


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[: len(data) // 2], "E509"),
        (lambda data: b"", "E509"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "E509"),
        (lambda data: b"x" * len(data), "E509"),
        (lambda data: data.replace(b'\\"format\\": 2,', b'\\"format\\": 9,'), "E510"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_named(whole, tmp_path, change, code):
    run = at_epoch(whole, 5, tmp_path)
    newest = damaged(run, change)
    result = invoke("--resume", str(run))
    assert result.exit_code in (1, 2)
    assert code in result.output
    assert newest.name in result.output


def test_every_flipped_bit_of_a_checkpoint_is_noticed(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    path = newest_checkpoint(run / "checkpoints")
    sound, chance = path.read_bytes(), random.Random(1)
    load_checkpoint(path)
    for _ in range(300):
        place = chance.randrange(len(sound))
        flipped = bytearray(sound)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(EsperError) as caught:
            load_checkpoint(path)
        assert caught.value.code in ("E509", "E510"), place


def test_a_number_that_is_spelt_in_another_way_is_noticed(whole, tmp_path):
    """The last of seventeen digits may be another one, and the number is the same."""
    run = at_epoch(whole, 5, tmp_path)
    path = newest_checkpoint(run / "checkpoints")
    sound = path.read_bytes()
    spelt = next(it for it in re.finditer(rb"\d\.\d{14,17}(?=[,\]}])", sound) if _other_spelling(it[0]) is not None)
    path.write_bytes(sound[: spelt.start()] + _other_spelling(spelt[0]) + sound[spelt.end() :])
    with pytest.raises(EsperError, match="not as it was written"):
        load_checkpoint(path)


def _other_spelling(number):
    others = (number[:-1] + str(digit).encode() for digit in range(10))
    return next((it for it in others if it != number and float(it) == float(number)), None)


def test_a_run_with_a_changed_configuration_is_refused(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("seed = 3 ", "seed = 4 "))
    result = invoke("--resume", str(run))
    assert result.exit_code == 2
    assert 'E515] "seed" is not what it was when the run began' in result.output
    assert "it was 3; it is 4" in result.output


def test_two_processes_cannot_go_on_with_one_run(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    before = (run / "events.jsonl").read_bytes()
    with exclusive(RunDirectory(run)):
        result = invoke("--resume", str(run))
    assert (result.exit_code, "E514" in result.output) == (2, True)
    assert f"process {os.getpid()}" in result.output
    assert (run / "events.jsonl").read_bytes() == before


def test_a_run_that_was_killed_before_its_result_was_written_comes_to_its_end(whole, tmp_path):
    run = tmp_path / "digits-1"
    shutil.copytree(whole, run)
    (run / "result.json").unlink()
    (run / "topology.json").unlink()
    result = invoke("--resume", str(run))
    assert result.exit_code == 0, result.output
    assert_same_run(whole, run)
    first, second = (timeless(json.loads((path / "result.json").read_text())) for path in (whole, run))
    assert first == second


def test_after_a_damaged_checkpoint_is_removed_the_one_before_it_serves(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    damaged(run, lambda data: data[:100]).unlink()
    result = invoke("--resume", str(run))
    assert result.exit_code == 0, result.output
    assert_same_run(whole, run)


def test_a_plugin_that_has_changed_or_gone_is_named(whole, tmp_path):
    run = at_epoch(whole, 5, tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    for entry in manifest["plugins"]:
        if entry["distribution"] == "esper-blueprint-conv-light":
            entry["digest"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    result = invoke("--resume", str(run))
    assert result.exit_code == 4
    assert "E511" in result.output
    assert "esper-blueprint-conv-light" in result.output
    assert "bring back the code" in result.output
    assert "pip install" not in result.output
    gone = invoke("--resume", str(run), "--no-plugin", "blueprint-conv-light")
    assert gone.exit_code == 2
    assert "conv-light" in gone.output


def test_what_cannot_be_resumed_says_why(whole, tmp_path, monkeypatch):
    over = invoke("--resume", str(whole))
    assert f"fix: look at it: esper show {whole}" in over.output
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(whole.parent)
    for name in ("last", whole.name):
        assert "E506" in invoke("--resume", name).output
    assert (over.exit_code, "E506" in over.output) == (2, True)
    bare = at_epoch(whole, 0, tmp_path)
    none = invoke("--resume", str(bare))
    assert (none.exit_code, "no checkpoint" in none.output) == (2, True)
    assert f"esper run --config {bare}" in none.output
    manifest = json.loads((bare / "manifest.json").read_text())
    (bare / "manifest.json").write_text(json.dumps(manifest | {"training": {"rounds": 2, "hosts": 1}}))
    assert f"esper train --config {bare}" in invoke("--resume", str(bare)).output
    assert invoke("--resume", str(tmp_path / "nowhere")).exit_code == 2
    assert invoke("digits", "--resume", str(bare)).exit_code == 2


def test_old_checkpoints_are_pruned(tmp_path):
    settings = ["epochs=5", "twin=none", "checkpoints.every=1", f"runs={tmp_path}"]
    result = invoke("digits", *(part for s in settings for part in ("--set", s)))
    assert result.exit_code == 0, result.output
    kept = sorted(path.name for path in (tmp_path / "digits-1" / "checkpoints").iterdir())
    assert kept == ["epoch-000004.safetensors", "epoch-000005.safetensors"]
