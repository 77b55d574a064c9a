"""`esper show` and `esper runs` on a run that really happened."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

#: Both slots are germinated, blended and fossilized within a few epochs.
SETTINGS = [
    "epochs=8",
    "twin=epochs",
    "host.widths=[4, 8]",
    "policy.germinate_from=0.1",
    "policy.germinate_until=0.5",
    "policy.fit_accuracy=1.0",
    "policy.fit_by=0.1",
    'policy.blueprints=["conv-light", "group-norm"]',
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
    "checkpoints.every=0",
]


def esper(*arguments):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directory of one quick run on digits."""
    runs = tmp_path_factory.mktemp("runs")
    sets = [part for setting in (*SETTINGS, f"runs={runs}") for part in ("--set", setting)]
    esper("run", "digits", *sets)
    return runs


@pytest.fixture
def log(runs):
    return [json.loads(line) for line in (runs / "digits-1" / "events.jsonl").read_text().splitlines()]


def drawn(page, label):
    return next(line.partition(" | ")[2] for line in page.splitlines() if line.strip().startswith(f"{label} |"))


def test_the_chart_shows_the_stages_of_the_log(runs, log):
    page = esper("show", str(runs / "last"))
    letters = {"DORMANT": "·", "TRAINING": "T", "PROBATIONARY": "P", "FOSSILIZED": "F"}
    for slot in ("block0", "block1"):
        stages = [e["data"]["slots"][slot] for e in log if e["kind"] == "epoch_completed" and e["host"] == "grown"]
        assert "BLENDING" in stages
        assert len(drawn(page, slot)) == len(stages) == 8
        for letter, stage in zip(drawn(page, slot), stages, strict=True):
            assert letter == letters[stage] if stage in letters else letter in "0123456789B"


def test_every_transition_is_told_with_its_reason(runs, log):
    page = " ".join(esper("show", str(runs / "last")).split())
    transitions = [e["data"] for e in log if e["kind"] == "seed_transition"]
    assert len(transitions) > 6
    for data in transitions:
        assert f"{data['source']} → {data['target']}, by {data['cause']}: {' '.join(data['reason'].split())}" in page
        for gate in data["gates"]:
            assert f"{gate['gate']} passed: {gate['reason']}" in page


def test_figures_are_those_of_the_result(runs):
    page = esper("show", str(runs / "last"), "--width", "140")
    result = json.loads((runs / "digits-1" / "result.json").read_text())
    for host in result["hosts"].values():
        assert f"{100 * host['test_accuracy']:.1f} %" in page
    for seed in result["seeds"]:
        figures = [f"{seed[key]['mean']:+.3f} ± {seed[key]['standard_error']:.3f}" for key in ("ablation", "gain")]
        assert all(figure in page for figure in figures)
    assert " ".join(verdict_in_words(verdict(result)).split()) in " ".join(page.split())


def test_every_verdict_of_a_followed_seed_is_told(runs, log):
    page = " ".join(esper("show", str(runs / "last"), "--seed", "block1-0").split())
    verdicts = [v for e in log if e["kind"] == "epoch_completed" for v in e["data"]["gates"].get("block1", ())]
    assert len(verdicts) > 2
    for each in verdicts:
        said = "passed" if each["passed"] else "not passed"
        assert f"after the epoch: {each['gate']} {said}: {each['reason']}" in page
    assert "block0" not in page.partition("where")[2]


def test_a_run_that_was_cut_off_anywhere_can_be_shown(runs, tmp_path):
    whole = (runs / "digits-1" / "events.jsonl").read_bytes()
    run = tmp_path / "cut"
    run.mkdir()
    (run / "manifest.json").write_bytes((runs / "digits-1" / "manifest.json").read_bytes())
    for share in range(11):
        (run / "events.jsonl").write_bytes(whole[: len(whole) * share // 11])
        page = esper("show", str(run))
        assert "unfinished" in page
        assert "There is no result.json" in page


def test_the_run_is_listed(runs):
    (record,) = json.loads(esper("runs", "--runs", str(runs), "--json"))
    result = json.loads((runs / "digits-1" / "result.json").read_text())
    assert record["outcome"] == "completed"
    assert record["accuracy"] == result["hosts"]["grown"]["test_accuracy"]
    assert record["twin_accuracy"] == result["hosts"]["twin"]["test_accuracy"]
    assert record["last"]


def test_showing_imports_neither_torch_nor_plugins(runs):
    code = (
        "import sys; from esper_app.cli.root import cli\n"
        f"cli.main(['show', {str(runs / 'last')!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pluggy', 'asyncio'}\n"
        "found = [name for name in sys.modules if name in heavy or name.startswith('esper_host')]\n"
        "print('IMPORTED', found)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("IMPORTED []")
