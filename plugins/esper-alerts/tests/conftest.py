"""Prometheus's own judge of alerts."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen


@frozen
class Promtool:
    """Asks promtool in a folder."""

    program: str
    folder: Path

    def judge(self, rules: str, tests: list[dict[str, Any]]) -> str:
        """Evaluate tests of rules; return what is wrong, "" if nothing is."""
        (self.folder / "rules.yml").write_text(rules)
        order = [line.removeprefix("  - name: ") for line in rules.splitlines() if line.startswith("  - name: ")]
        file = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "group_eval_order": order, "tests": tests}
        (self.folder / "test.yml").write_text(json.dumps(file))
        command = [self.program, "test", "rules", "test.yml"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=900)
        return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    """Return what asks promtool of Debian's package `prometheus`; without it the test is skipped, in CI it fails."""
    path = shutil.which("promtool")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is not installed")
    return Promtool(path, tmp_path)
