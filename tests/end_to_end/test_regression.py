"""A run on a task without an accuracy: it grows by its loss, and nothing ever shows an accuracy."""

import json
import re

import pytest
import torch
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_runs.measures import Direction
from esper_runs.run_directory import find_run
from esper_runs.run_record import read_run_record
from esper_runs.verdict import Judgement

#: A seed is germinated, blended and kept within twelve epochs.
QUICK = [
    "epochs=12",
    "twin=epochs",
    "policy.germinate_until=0.5",
    'policy.blueprints=["mlp"]',
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
    "optimizer.lr=0.01",
]


def esper(*arguments, code=0):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    sets = [part for setting in (*QUICK, f"runs={runs}") for part in ("--set", setting)]
    return runs / "diabetes-1", esper("run", "diabetes", *sets, "--check-plugins")


def test_it_grows_by_its_loss(finished):
    run, output = finished
    result = json.loads((run / "result.json").read_text())
    assert "the host underfits (training share of the loss that is gone" in output
    assert [seed["final_stage"] for seed in result["seeds"]] == ["FOSSILIZED"]
    assert result["hosts"]["grown"]["parameters"] > result["hosts"]["twin"]["parameters"] == 49
    assert {host["test_accuracy"] for host in result["hosts"].values()} == {None}
    assert result["difference"]["test_accuracy"] is None
    assert result["test_share_of"] is None
    (seed,) = result["seeds"]
    assert (seed["accuracy_at_germination"], seed["accuracy_at_end"]) == (None, None)


def test_the_error_is_shown_in_units_of_the_target(finished):
    run, output = finished
    result = json.loads((run / "result.json").read_text())
    deviation = json.loads((run / "manifest.json").read_text())["data"]["target_deviation"]
    errors = {name: host["test_in_units"] for name, host in result["hosts"].items()}
    for name, host in result["hosts"].items():
        assert errors[name] == pytest.approx(deviation * (2 * host["test_loss"]) ** 0.5)
    assert 40 < errors["grown"] < 80
    assert result["difference"]["test_in_units"] == pytest.approx(errors["grown"] - errors["twin"])
    for shown in (output, esper("show", str(run))):
        (line,) = [line for line in shown.splitlines() if "test RMSE of the progression" in line]
        assert f"{errors['twin']:.4g}" in line
        assert f"{errors['grown']:.4g}" in line


def test_the_twin_and_the_network_learn(finished):
    run, _ = finished
    hosts = json.loads((run / "result.json").read_text())["hosts"]
    assert all(host["test_loss"] < 0.4 for host in hosts.values())  # 0.5 for one who knows nothing


def test_the_verdict_speaks_of_loss(finished):
    run, output = finished
    record = read_run_record(find_run(run))
    assert record.verdict.accuracy.direction is Direction.UNKNOWN
    assert record.verdict.loss.difference is not None
    assert record.verdict.judgement not in {Judgement.DIVERGED, Judgement.NO_COMPARISON}
    assert "a gain in loss of" in " ".join(output.split())


def test_no_screen_shows_an_accuracy(finished, tmp_path):
    run, output = finished
    pages = [
        output,
        esper("show", str(run)),
        esper("show", str(run), "--slot", "block0"),
        esper("runs", "--runs", str(run.parent)),
    ]
    for page in pages:
        assert "NaN" not in page
        assert not re.search(r"\d\.\d %(?! of the run's time)", page)  # as an accuracy is written
    assert all("test accuracy" not in page and "validation accuracy:" not in page for page in pages)
    assert "test loss" in output
    assert "test loss grown" in " ".join(pages[1].split())
    assert " nats" in pages[3]


def test_it_is_resumed_and_exported_like_any_other(finished, tmp_path):
    run, _ = finished
    file = tmp_path / "diabetes.pt2"
    esper("export", str(run), "-o", str(file))
    outputs = torch.export.load(file).module()(torch.randn(3, 10))
    assert outputs.shape == (3, 1)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "numbers of shape (batch, 1)" in card
    assert "accuracy" not in card
