"""``esper compare``: what an arm stands for, how arms are paired, and the command itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.api import ConfigOptions
from esper_app_bench.compare import compare
from esper_app_bench.comparing import ComparedRun, arm_request, arm_results, arm_results_table, run_table, said
from esper_studies import StudyRun


def sets(arm, **options):
    return arm_request("digits", arm, ConfigOptions(**options), 3).options.sets


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("periodic", ['policy.name="periodic"']),
        ("lifecycle.ramp_epochs=0", ["lifecycle.ramp_epochs=0"]),
        ("periodic+policy.every_epochs=3", ['policy.name="periodic"', "policy.every_epochs=3"]),
        ("host.widths=[4,6]+optimizer.lr=1e+1", ["host.widths=[4,6]", "optimizer.lr=1e+1"]),
    ],
)
def test_an_arm_is_made_of_policies_and_settings(arm, expected):
    assert [*sets(arm)] == ["seed=3", *expected]


def test_an_arm_goes_before_what_all_arms_have():
    assert sets("epochs=3", sets=("epochs=9",)) == ("epochs=9", "seed=3", "epochs=3")


def test_a_policy_beside_arms_that_name_one_is_refused():
    refused = CliRunner().invoke(compare, ["digits", "epochs=2", "periodic", "--policy", "null"])
    assert refused.exit_code == 2
    assert 'arm "periodic" names a policy' in refused.output


def test_a_saved_policy_is_known_by_its_card(tmp_path):
    (tmp_path / "best.json").write_text("{}")
    assert sets(str(tmp_path / "best.json"))[1].startswith("policy.saved=")


def result(loss, gain=None, seeds=(), accuracy=0.9):
    host = {"test_accuracy": accuracy, "test_loss": loss, "test_samples": 100, "epochs": 2, "parameters": 1}
    host |= {"forward_flops": 1, "compute": {"total": 3}}
    found = {"hosts": {"grown": host}, "seeds": [*seeds], "outcome": "completed"}
    if gain is None:
        return found | {"difference": None, "compute_difference": None}
    test_gain = {"mean": gain, "standard_error": 0.01}
    difference = {"test_accuracy": 0.01, "test_loss": -gain, "test_gain": test_gain}
    found["hosts"]["twin"] = {**host, "test_accuracy": 0.8}
    return found | {"difference": difference, "compute_difference": difference if seeds else None}


def compared(arm, seed, loss, *, failed=False, **options):
    run = StudyRun(
        name=f"{arm}{seed}",
        directory=Path("/nowhere"),
        result=None if failed else result(loss, **options),
        failure="it broke" if failed else None,
    )
    return ComparedRun(arm=arm, seed=seed, run=run, figures=None, loss=loss, accuracy=0.9)


def test_arms_are_paired_with_the_first_one_by_random_seed():
    one = [compared("a", seed, 0.5 + 0.1 * seed) for seed in range(8)]
    other = [compared("b", seed, 0.45 + 0.101 * seed) for seed in reversed(range(8))]
    worse = [compared("c", seed, 0.5 + 0.1 * seed + 0.001 * (-1) ** seed) for seed in range(8)]
    first, second, third = arm_results([*one, *other, *worse])
    assert first.to_first is None
    assert second.to_first.mean == pytest.approx(0.05 - 0.001 * 3.5)
    assert second.p == pytest.approx(2 * 2 / 2**8)  # of two arms that are tested
    assert second.clear
    assert not third.clear
    sentences = [*said([first, second, third])]
    assert sentences[0].startswith("b is better than a: +0.0")
    assert "no difference is shown" in sentences[1]


def test_a_gain_at_equal_compute_needs_a_control_unless_nothing_grew():
    grew = [{"final_stage": "FOSSILIZED"}]
    assert compared("a", 0, 0.5, gain=0.1, seeds=grew).gain() == 0.1
    assert compared("a", 0, 0.5, gain=0.1).gain() == 0.1  # the twin is as good as one
    assert compared("a", 0, 0.5).gain() is None
    assert compared("a", 0, 2.3, failed=True).gain() is None


def test_failed_runs_are_in_the_tables():
    results = arm_results([compared("a", 0, 2.3, failed=True), compared("a", 1, 0.5), compared("b", 0, 0.4)])
    texts = [cell for row in arm_results_table(results).texts for cell in row]
    assert "2, 2 failed" in texts or "2, 1 failed" in texts
    assert run_table(results[0].runs).texts[0][-1] == "failed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["heuristic", "heuristic"], "an arm is given twice"),
        (["heuristic", "--set", "seed=3"], "--seeds names the random seeds"),
        (["heuristic+seed=3"], "--seeds names the random seeds"),
        (["heuristic", "--hosts", "2"], "--seeds repeats an arm"),
        (["heuristic", "--set", "runs=elsewhere"], "--output says where the runs are"),
        (["heuristic", "--seeds", "3-"], "is not a list of seeds"),
        (["heuristic", "--seeds", "3,3"], "names no seed, or one twice"),
        ([], "Missing argument"),
    ],
)
def test_what_the_comparison_decides_cannot_be_set(arguments, says, tmp_path):
    done = CliRunner().invoke(compare, ["digits", *arguments, "--output", str(tmp_path / "study")])
    assert done.exit_code == 2
    assert says in done.output
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_runs_are_made_once_and_compared(esper, tmp_path):
    command = ["compare", "digits", "null", "optimizer.lr=0.3+null", "--seeds", "0-1", "--set", "epochs=2"]
    command += ["--set", "twin=epochs", "--jobs", "2", "--output", "study"]
    done = esper(*command)
    assert done.returncode == 0, done.stderr
    assert "2 random seeds cannot show a difference" in " ".join(done.stdout.split())
    results = sorted((tmp_path / "study" / "runs").glob("digits-*/result.json"))
    assert len(results) == 4
    before = [path.stat().st_mtime_ns for path in results]
    found = esper.json(*command, "--json")
    assert [path.stat().st_mtime_ns for path in results] == before
    assert [it["arm"] for it in found] == ["null", "optimizer.lr=0.3+null"]
    losses = {json.loads(path.read_text())["hosts"]["grown"]["test_loss"] for path in results}
    assert losses == {run["loss"] for it in found for run in it["runs"]}
    page = (tmp_path / "study" / "compare.html").read_text()
    assert all(f'href="runs/{path.parent.name}/"' in page for path in results)


@pytest.mark.slow
def test_ctrl_c_is_no_failure_and_the_same_command_goes_on(esper, tmp_path):
    words = ["compare", "digits", "null", "--seeds", "0", "--set", "twin=none", "--jobs", "1", "--output", "study"]
    command = [sys.executable, "-m", "esper_app.cli", *words]
    begun = subprocess.Popen(
        [*command, "--set", "epochs=100000"], cwd=tmp_path, env=esper.environ, stderr=subprocess.PIPE, process_group=0
    )
    while not list((tmp_path / "study").glob("runs/digits-*/events.jsonl")):
        assert begun.poll() is None
        time.sleep(0.1)
    os.killpg(begun.pid, signal.SIGINT)
    assert begun.wait() == 130
    assert not list((tmp_path / "study" / "failed").iterdir())
    results = [json.loads(it.read_text()) for it in (tmp_path / "study").glob("runs/digits-*/result.json")]
    assert all(it["outcome"] == "interrupted" for it in results)
    assert esper(*words, "--set", "epochs=1").returncode == 0


@pytest.mark.slow
def test_the_benchmark_reports_whatever_is_there(esper, tmp_path):
    asked = ["bench", "growth", "--budget", "smoke", "--task", "random-labels", "--output", "bench", "--jobs", "1"]
    done = esper(*asked, "--stop-after", "0")
    assert done.returncode == 0, done.stderr
    assert "not complete, 8 runs are missing" in done.stdout
    assert {"report.html", "table.md", "bench.json"} <= {path.name for path in (tmp_path / "bench").iterdir()}
    wrong = esper(*asked[:-4], "--task", "cifar10", "--output", "bench")
    assert wrong.returncode == 2
    assert "it has digits, digits-flat, random-labels" in wrong.stderr


@pytest.mark.soak
def test_the_smallest_budget_is_complete(esper, tmp_path):
    done = esper("bench", "growth", "--budget", "smoke", "--output", "bench")
    assert done.returncode == 0, done.stderr
    assert "State: complete" in done.stdout
    data = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert data["missing"] == 0
    spent = {row["arm"]: row["flops"]["mean"] for row in data["rows"]["digits"]}
    for arm in ("host-flops", "static", "wide-parameters", "wide-flops"):
        assert 1 <= spent[arm] / spent["heuristic"] < 1.2
