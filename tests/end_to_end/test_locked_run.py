"""The manifest of a run is a lock: what took part in it, and nothing else."""

import json

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.locks.lock import read_lock


def invoke(*arguments):
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run with the plugins in an order of its own."""
    runs = tmp_path_factory.mktemp("runs")
    result = invoke(
        "run",
        "digits",
        "--set",
        "epochs=2",
        "--set",
        "twin=epochs",
        "--set",
        "checkpoints.every=1",
        "--set",
        f"runs={runs}",
        "--plugins",
        "task-vision,auto",
    )
    assert result.exit_code == 0, result.output
    return runs / "digits-1"


def test_what_took_part_is_locked_in_call_order(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    used = [entry["plugin"] for entry in manifest["plugins"] if entry["used"]]
    names = [it.plugin for it in read_lock(finished).plugins]
    assert names == used
    assert names[0] == "task-vision"
    assert "host-transformer" not in names


@pytest.mark.parametrize("name", ["", "manifest.json"])
def test_the_same_run_is_accepted_and_has_the_same_plugins(finished, tmp_path, name):
    again = invoke("run", "digits", "--locked", str(finished / name), "--set", "epochs=1", "--set", f"runs={tmp_path}")
    assert again.exit_code == 0, again.output
    assert read_lock(tmp_path / "last").plugins == read_lock(finished).plugins


def test_a_run_goes_on_under_its_own_lock_and_under_no_other(finished, tmp_path):
    manifest = finished / "manifest.json"
    (finished / "result.json").unlink()
    (finished / "checkpoints" / "epoch-000002.safetensors").unlink()
    other = json.loads(manifest.read_text())
    del other["plugins_digest"]
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert invoke("run", "--resume", str(finished), "--locked", str(tmp_path / "other.json")).exit_code == 2
    resumed = invoke("run", "--resume", str(finished), "--locked", str(finished))
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((finished / "result.json").read_text())["outcome"] == "completed"
    assert json.loads(manifest.read_text())["resumed"][0]["epoch"] == 1
