import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_alerts.catalogue import markdown_table
from esper_core.api import EsperError
from esper_sink_prometheus.command import prometheus
from esper_sink_prometheus.dashboard import dashboard
from esper_sink_prometheus.rules import rules_file


def test_the_rules_are_written_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("older")
    found = CliRunner().invoke(prometheus, ["rules", "--output", str(path)], catch_exceptions=False)
    assert found.exit_code == 0
    assert path.read_text() == rules_file()
    assert str(path) in found.output
    assert [it.name for it in tmp_path.iterdir()] == ["rules.yml"]


def test_without_a_file_they_are_printed() -> None:
    assert CliRunner().invoke(prometheus, ["rules"]).output == rules_file()
    assert json.loads(CliRunner().invoke(prometheus, ["dashboard"]).output) == dashboard()
    assert CliRunner().invoke(prometheus, ["metrics"]).output == markdown_table() + "\n"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    arguments = ["dashboard", "--output", str(tmp_path / "missing" / "dashboard.json")]
    with pytest.raises(EsperError, match="missing") as caught:
        CliRunner().invoke(prometheus, arguments, catch_exceptions=False)
    assert caught.value.code == "E513"
