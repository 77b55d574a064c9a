"""Every installed policy runs for three epochs, on images and on vectors."""

import json

import pytest
from click.testing import CliRunner

from esper_app.api import load_plugins
from esper_app.cli.root import cli

POLICIES = load_plugins(tolerant=True).registry.names("policy")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["digits", "diabetes"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_runs_on_a_task(policy, task, tmp_path):
    settings = [f"runs={tmp_path}", "epochs=3", 'sinks.names=["jsonl"]']
    arguments = [part for text in settings for part in ("--set", text)]
    result = CliRunner().invoke(cli, ["run", task, "--policy", policy, *arguments])
    assert result.exit_code == 0, result.output
    (run,) = tmp_path.glob(f"{task}-1")
    found = json.loads((run / "result.json").read_text())
    assert found["outcome"] == "completed"
    assert found["hosts"]["grown"]["epochs"] == 3
