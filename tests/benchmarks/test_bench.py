"""`make bench` in its quick mode: every benchmark runs and its rows are whole. The figures mean nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: A part of a row's name for each benchmark of tools/bench/registry.py.
ROWS = {
    "steps": ["dormant", "1 seed TRAINING", "1 seed BLENDING", "3 seeds BLENDING", "3 seeds FOSSILIZED"],
    "counterfactuals": ["all 8 subsets", "3 seeds, leave one out", "sites live"],
    "whole-runs": ["without twin", "with twin"],
    "start": ["until its first step"],
    "limits": ["with limits"],
    "checkpoints": ["50 M parameters", "captured copy"],
    "scaling": ["epoch", "checkpoint after"],
    "hosts": ["two workers"],
    "buses": ["`sqlite:`", "dead server"],
}


def bench(output: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/run_bench.py", "--quick", "--only", name, "--output", str(output)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_yields_its_rows(name: str, tmp_path: Path) -> None:
    run = bench(output := tmp_path / "bench.json", name)
    assert run.returncode == 0, run.stderr
    report = json.loads(output.read_text())
    assert report["quick"]
    assert report["machine"]["threads"] == 1
    names = [row["name"] for row in report["rows"]]
    for part in ROWS[name]:
        assert any(part in it for it in names), (part, names)
    for row in report["rows"]:
        # Where times are subtracted, those of so few rounds may come out below zero.
        assert -math.inf < row["low"] <= row["ratio"] <= row["high"] < math.inf
        assert row["name"] in run.stdout


@pytest.mark.slow
def test_all_benchmarks_are_tested_and_others_refused(tmp_path: Path) -> None:
    run = bench(tmp_path / "bench.json", "none-such")
    assert run.returncode == 2
    assert "there is no benchmark none-such" in run.stderr
    offered = (
        run.stderr
        + subprocess.run(
            [sys.executable, "tools/run_bench.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    )
    listed = offered.partition("of ")[2].partition(";")[0].replace("\n", " ").replace(" ", "").split(",")
    assert listed == [*ROWS]
