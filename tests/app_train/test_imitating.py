"""`esper imitate`: a policy takes on what recorded runs did, and can run and be trained from there."""

import json
import shutil

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli

SMALL = ["twin=epochs", "host.widths=[4, 4]", "epochs=5", 'policy.blueprints=["conv-light", "bottleneck"]', "seed=3"]
PUPIL = ["policy.hidden=16", "policy.slot_encoding=8", "policy.learning_rate=0.01"]


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def settings(*texts):
    return [part for text in texts for part in ("--set", text)]


def ran(runs, policy, *more):
    result = invoke("run", "digits", "--policy", policy, *settings(*SMALL, f"runs={runs}", *more))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs: one germinates a seed by the clock, one is under a policy that remembers and learns."""
    folder = tmp_path_factory.mktemp("runs")
    ran(folder, "periodic", "policy.first_epoch=1", "policy.every_epochs=100")
    ran(folder, "ppo", "policy.hidden=16", "policy.slot_encoding=8", "policy.wait_bias=0.0")
    return folder


def decided(run):
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    done = [it["data"] for it in events if it["kind"] == "action_decided"]
    return [(it["op"], it["slot"], it["blueprint"]) for it in done if it["op"] != "WAIT"]


@pytest.mark.timeout(900)
def test_the_pupil_does_what_was_done_and_is_trained_from_there(runs, tmp_path):
    warm = tmp_path / "warm"
    result = invoke("imitate", runs / "digits-1", "--to", warm, "--passes", 100, *settings(*PUPIL))
    assert result.exit_code == 0, result.output
    assert "taught by digits-1" in result.output
    card = json.loads((warm / "best.json").read_text())
    assert (card["policy"], card["task"], card["rounds"]) == ("ppo", "digits", 0)
    assert (card["host"]["widths"], [it["name"] for it in card["blueprints"]]) == ([4, 4], ["conv-light", "bottleneck"])
    assert card["results"]["taught by"] == ["digits-1"]

    small = [it for it in SMALL if "blueprints" not in it]
    again = invoke("run", "digits", "--policy", warm, *settings(*small, "policy.sample=false", f"runs={tmp_path}"))
    assert again.exit_code == 0, again.output
    assert decided(tmp_path / "digits-1") == decided(runs / "digits-1") != []
    one, other = (json.loads((it / "digits-1/result.json").read_text()) for it in (tmp_path, runs))
    assert one["hosts"]["grown"]["test_loss"] == other["hosts"]["grown"]["test_loss"]

    trained = invoke("train", "digits", "--policy", warm, "--rounds", 1, *settings(*small, f"runs={tmp_path}"))
    assert trained.exit_code == 0, trained.output
    assert (tmp_path / "digits-2/policy/last.json").exists()


def test_several_runs_teach_together_whatever_decided_them(runs, tmp_path):
    result = invoke("imitate", runs / "digits-1", runs / "digits-2", "--to", tmp_path / "warm", *settings(*PUPIL))
    assert result.exit_code == 0, result.output
    assert "digits-2: 5 decisions" in result.stderr
    assert json.loads((tmp_path / "warm/best.json").read_text())["results"]["steps"] == 10


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--policy", "heuristic"], "E202", "cannot be taught"),
        (settings("blueprints.conv-light.kernel=5"), "E502", "has another catalogue than the policy"),
    ],
)
def test_what_does_not_fit_is_refused(runs, tmp_path, more, code, said):
    result = invoke("imitate", runs / "digits-1", "--to", tmp_path / "warm", *more)
    assert f"error[{code}]" in result.output, result.output
    assert said in result.output
    assert not (tmp_path / "warm").exists()


def test_a_run_that_cannot_be_repeated_teaches_nothing(runs, tmp_path):
    shutil.copytree(runs / "digits-1", tmp_path / "digits-1")
    lines = (tmp_path / "digits-1/events.jsonl").read_text().splitlines()
    index = max(number for number, line in enumerate(lines) if json.loads(line)["kind"] == "epoch_completed")
    event = json.loads(lines[index])
    event["data"]["train"]["loss"] += 1e-9
    lines[index] = json.dumps(event)
    (tmp_path / "digits-1/events.jsonl").write_text("\n".join(lines) + "\n")
    result = invoke("imitate", tmp_path / "digits-1", "--to", tmp_path / "warm")
    assert "error[E518]" in result.output, result.output
    assert not (tmp_path / "warm").exists()


def test_a_training_is_trained_further_instead(runs, tmp_path):
    invoke("train", "digits", "--rounds", 1, *settings(*SMALL, *PUPIL, f"runs={tmp_path}"))
    result = invoke("imitate", tmp_path / "digits-1", "--to", tmp_path / "warm")
    assert (result.exit_code, "error[E202]" in result.output) == (2, True), result.output
    assert "--policy PATH" in result.output
