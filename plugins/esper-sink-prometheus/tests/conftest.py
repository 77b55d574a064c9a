"""Prometheus's own judge of rules."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from esper_sink_prometheus.rules import rules_file


@frozen
class Promtool:
    """Asks promtool in a folder."""

    folder: Path

    def judge(self, *arguments: str) -> None:
        """Run promtool, which must be content."""
        command = [program("promtool"), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def check_alert(
        self, alert: str, series: Mapping[str, Sequence[float | None]], firing: Mapping[int, bool], rules: str = ""
    ) -> None:
        """Hold one alert against series, minute by minute: whether it fires in each of these minutes."""
        (self.folder / "rules.yml").write_text(rules or rules_file())
        query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > bool 0'
        expected = [
            {"expr": query, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
            for minute, fires in firing.items()
        ]
        inputs = [{"series": name, "values": " ".join(map(_value, values))} for name, values in series.items()]
        test: Any = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": expected}],
        }
        (self.folder / "test.yml").write_text(json.dumps(test))
        self.judge("test", "rules", "test.yml")


def program(name: str) -> str:
    """Return where a program of Debian's packages of Prometheus is; without it tests are skipped, in CI they fail."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: apt-get install prometheus prometheus-alertmanager")
        pytest.skip(f"{name} is not installed")
    return path


def _value(value: float | None) -> str:
    return "_" if value is None or isnan(value) else repr(float(value))


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    """Return what asks promtool."""
    program("promtool")
    return Promtool(tmp_path)


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Return where Prometheus is."""
    return program("prometheus")


@pytest.fixture(scope="session")
def alertmanager_program() -> str:
    """Return where Alertmanager is."""
    return program("prometheus-alertmanager")


@pytest.fixture(scope="session")
def amtool_program() -> str:
    """Return where its tool is."""
    return program("amtool")
