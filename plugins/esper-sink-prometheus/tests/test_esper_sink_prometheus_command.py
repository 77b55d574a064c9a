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


def test_alertmanager_posts_to_the_webhook_and_says_when_it_is_over() -> None:
    found = CliRunner().invoke(prometheus, ["alertmanager", "--webhook", "https://hooks.example/x"])
    assert '- url: "https://hooks.example/x"' in found.output
    assert "send_resolved: true" in found.output


@pytest.mark.parametrize("webhook", ["ftp://hooks.example", "hooks.example", "https://", "https://a/\nreceivers: x"])
def test_a_webhook_that_is_no_address_is_refused(webhook: str) -> None:
    found = CliRunner().invoke(prometheus, ["alertmanager", "--webhook", webhook])
    assert found.exit_code == 2
    assert "it is no http or https address" in found.output


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    arguments = ["dashboard", "--output", str(tmp_path / "missing" / "dashboard.json")]
    with pytest.raises(EsperError, match="missing") as caught:
        CliRunner().invoke(prometheus, arguments, catch_exceptions=False)
    assert caught.value.code == "E513"
