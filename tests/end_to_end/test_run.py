"""`esper run` on real data with the bundled plugins, as its user has it."""

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from esper_app.cli.root import cli
from esper_core.leyline.errors import ExitCode
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

#: A short life: both slots are germinated, blended and fossilized within twelve epochs.
QUICK = [
    "epochs=12",
    "twin=epochs",
    "host.widths=[4, 8]",
    "policy.germinate_until=0.5",
    "policy.fit_accuracy=1.0",
    'policy.blueprints=["conv-light", "group-norm"]',
    "policy.blend=cosine",
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
]


def esper(*arguments, runs, settings=QUICK):
    sets = [part for setting in (*settings, f"runs={runs}") for part in ("--set", setting)]
    return CliRunner().invoke(cli, [*arguments, *sets])


def events(run):
    lines = (run / "events.jsonl").read_text().splitlines()
    return [timeless(json.loads(line)) for line in lines]


def timeless(data):
    if isinstance(data, dict):
        times = {
            "time",
            "monotonic",
            "seconds",
            "train_seconds",
            "measure_seconds",
            "started",
            "directory",
            "name",
            "command",
            "runs",
        }
        return {key: timeless(value) for key, value in data.items() if key not in times}
    return [timeless(item) for item in data] if isinstance(data, list) else data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One quick run on digits and its console output."""
    runs = tmp_path_factory.mktemp("runs")
    result = esper("run", "digits", runs=runs)
    assert result.exit_code == 0, result.output
    return runs / "digits-1", result.output


def test_a_run_grows_and_says_whether_it_paid(finished):
    run, output = finished
    result = json.loads((run / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert result["hosts"]["grown"]["parameters"] > result["hosts"]["twin"]["parameters"] == 438
    assert {seed["final_stage"] for seed in result["seeds"]} & {"FOSSILIZED", "PROBATIONARY"}
    for word in ("twin", "grown", "test accuracy", "parameters", "ablation", "gain", "conv-light"):
        assert word in output
    difference = result["hosts"]["grown"]["test_accuracy"] - result["hosts"]["twin"]["test_accuracy"]
    assert result["difference"]["test_accuracy"] == pytest.approx(difference)
    assert " ".join(verdict_in_words(verdict(result)).split()) in " ".join(output.split())


def test_a_run_leaves_everything_about_itself(finished):
    run, _ = finished
    assert {path.name for path in run.iterdir()} == {
        "manifest.json",
        "config.toml",
        "events.jsonl",
        "result.json",
        "weights.safetensors",
        "topology.json",
        "checkpoints",
        ".lock",
    }
    manifest = json.loads((run / "manifest.json").read_text())
    used = {item["name"] for plugin in manifest["plugins"] for item in plugin["used"]}
    assert {"cnn", "digits", "heuristic", "conv-light", "group-norm", "jsonl", "console", "permissive-g5"} <= used
    assert "depthwise" not in used
    topology = json.loads((run / "topology.json").read_text())
    weights = load_file(run / "weights.safetensors")
    grown = {slot["slot"] for slot in topology["slots"] if slot["blueprint"]}
    assert grown == {name.split(".")[1] for name in weights if name.startswith("esper.")}
    result = json.loads((run / "result.json").read_text())
    assert sum(tensor.numel() for tensor in weights.values()) == result["hosts"]["grown"]["parameters"]


def test_the_events_tell_the_story_in_order(finished):
    run, _ = finished
    log = events(run)
    assert [event["sequence"] for event in log] == list(range(len(log)))
    assert (log[0]["kind"], log[-1]["kind"]) == ("run_started", "run_finished")
    epochs = [e for e in log if e["kind"] == "epoch_completed"]
    assert [(e["host"], e["epoch"]) for e in epochs] == [(h, k) for k in range(12) for h in ("twin", "grown")]
    assert all(set(e["data"]["slots"].values()) == {"DORMANT"} for e in epochs if e["host"] == "twin")
    stages = [e["data"]["target"] for e in log if e["kind"] == "seed_transition" and e["data"]["slot"] == "block1"]
    assert stages[:3] == ["GERMINATED", "TRAINING", "BLENDING"]


def test_the_same_seed_twice_gives_the_same_run(finished, tmp_path):
    first, _ = finished
    assert esper("run", "digits", runs=tmp_path).exit_code == 0
    second = tmp_path / "digits-1"
    assert events(first)[1:] == events(second)[1:]
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()


def test_the_written_configuration_gives_the_same_run_again(finished, tmp_path):
    first, _ = finished
    outcome = esper("run", "--config", str(first / "config.toml"), runs=tmp_path, settings=())
    assert outcome.exit_code == 0, outcome.output
    again = tmp_path / "digits-1"
    assert (first / "weights.safetensors").read_bytes() == (again / "weights.safetensors").read_bytes()


BYSTANDER = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="aaa", summary="Sorts before all others.", layouts={"NCHW"}, factory="no.such:thing")


@hookimpl
def esper_epoch_end(host, evidence):
    raise SystemExit("observers of plugins that a run does not use are not called")
"""


def test_installing_a_plugin_changes_no_run_that_does_not_name_it(finished, install, tmp_path):
    install("esper-blueprint-aaa", code=BYSTANDER)
    listed = CliRunner().invoke(cli, ["plugins", "list", "--json"]).output
    assert "esper-blueprint-aaa" in listed
    outcome = esper("run", "digits", runs=tmp_path)
    assert outcome.exit_code == 0, outcome.output
    first, again = finished[0], tmp_path / "digits-1"
    assert (first / "weights.safetensors").read_bytes() == (again / "weights.safetensors").read_bytes()
    assert events(first)[1:-1] == events(again)[1:-1]


FULL_DISK = """
from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


class Full:
    def open(self, manifest): ...

    def emit(self, events):
        raise OSError("disk full")

    def flush(self): ...

    def close(self): ...


@hookimpl
def esper_telemetry_sinks():
    yield SinkSpec(name="full", summary="Fails.", factory=f"{__name__}:build")


def build(config):
    return Full()
"""


def test_a_sink_that_fails_is_told_of_where_no_other_sink_could(tmp_path):
    plugin = tmp_path / "full_sink.py"
    plugin.write_text(FULL_DISK)
    short = ("epochs=1", 'sinks.names=["full"]')
    result = esper("run", "digits", "--plugin-path", str(plugin), runs=tmp_path / "runs", settings=short)
    assert result.exit_code == ExitCode.SINKS, result.output
    warning = next(line for line in result.stderr.splitlines() if line.startswith("warning"))
    assert warning.startswith("warning: the sink full failed: ")
    assert "disk full" in warning


def test_a_run_that_diverged_says_so_in_its_exit_code(tmp_path):
    result = esper("run", "digits", runs=tmp_path, settings=("epochs=3", "optimizer.lr=1e30"))
    assert result.exit_code == ExitCode.WENT_WRONG, result.output
    assert "the run went wrong" in result.stderr
    assert (tmp_path / "digits-1" / "result.json").is_file()


def test_without_a_twin_nothing_is_compared(tmp_path):
    outcome = esper("run", "digits", runs=tmp_path, settings=["epochs=2", "twin=none"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads((tmp_path / "digits-1" / "result.json").read_text())
    assert list(result["hosts"]) == ["grown"]
    assert result["difference"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "digits", "--set", "polcy.name=x"], 2, ["E201", "policy"]),
        (["run", "digits", "--set", "policy.germinate_form=0.1"], 2, ["E201", "germinate_from"]),
        (["run", "digits", "--set", "epochs=0"], 2, ["E202", "epochs"]),
        (["run", "digit"], 2, ["E204", "digits"]),
        (["run", "digits", "--host", "cnnn"], 2, ["E204", "cnn"]),
        (["run", "digits", "--set", 'policy.blueprints=["conv-lite"]'], 2, ["E204", "conv-light"]),
        (["run", "digits", "--set", 'policy.blueprints=["mlp"]'], 2, ["E404", "mlp", "NCHW"]),
        (["run", "digits", "--set", 'policy.blueprints=["noop"]'], 2, ["E404", "nothing", "noop"]),
        (["run", "digits", "--no-plugin", "policy-heuristic"], 2, ["E204", "heuristic", "blocked"]),
        (["run", "digits", "--set", "device=xpu:63"], 2, ["E202", "xpu:63", "--device"]),
    ],
)
def test_a_mistake_is_named_with_its_fix_before_anything_is_trained(tmp_path, arguments, code, words):
    outcome = esper(*arguments, runs=tmp_path, settings=())
    assert outcome.exit_code == code, outcome.output
    assert all(word in outcome.output for word in words), outcome.output
    assert [*tmp_path.glob("*/events.jsonl")] == []


def test_a_directory_that_cannot_be_written_is_an_error_before_training(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    outcome = esper("run", "digits", runs=blocked)
    assert outcome.exit_code == 2
    assert "E501" in outcome.output


@pytest.mark.slow
def test_ctrl_c_stops_at_the_end_of_the_epoch_with_a_readable_run(tmp_path):
    command = [
        sys.executable,
        "-m",
        "esper_app.cli",
        "run",
        "digits",
        "--set",
        f"runs={tmp_path}",
        "--set",
        "epochs=100000",  # so many that it is under way when it is told to end
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "run: " in rest
    assert f"esper run --resume {tmp_path / 'digits-1'}" in rest
    run = tmp_path / "digits-1"
    result = json.loads((run / "result.json").read_text())
    assert result["outcome"] == "interrupted"
    assert 2 <= result["hosts"]["grown"]["epochs"] < 100000
    assert events(run)[-1]["kind"] == "run_finished"
    assert load_file(run / "weights.safetensors")
