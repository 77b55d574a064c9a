"""`esper status`, `esper down` and `esper services` where nothing is up, and what command lines stand for."""

import json
import tomllib

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app_up.command import status_lines
from esper_app_up.machine import machine_data
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_weatherlight.machine import read_machine


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def esper(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, [*map(str, arguments)])


class TestWhereNothingIsUp:
    def test_status_says_so_and_makes_nothing(self, esper, tmp_path):
        told = esper("status")
        assert (told.exit_code, told.output) == (1, "no services are supervised; begin with: esper up\n")
        assert json.loads(esper("status", "--json").output) == {"mode": "down", "services": []}
        assert not (tmp_path / "state").exists()

    def test_the_log_is_empty_and_makes_nothing(self, esper, tmp_path):
        assert (esper("services", "log").exit_code, esper("services", "log").output) == (0, "")
        assert not (tmp_path / "state").exists()

    def test_a_service_cannot_be_started_again(self, esper):
        refused = esper("services", "again", "digits")
        assert refused.exit_code == 1
        assert "E642" in refused.output


class TestWrongWords:
    def test_a_task_that_nobody_has_is_refused_before_anything_starts(self, esper, tmp_path):
        refused = esper("up", "--run", "digit")
        assert refused.exit_code == 2
        assert 'did you mean "digits"' in refused.output
        assert not [*(tmp_path / "state").glob("weatherlight/*")]

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('service = "run"\ntask = "digit"', 'did you mean "digits"'),
            ('service = "command"', "there is no command"),
            ('service = "nissa"\nsinks.jsnl = {}', 'did you mean "jsonl"'),
        ],
    )
    def test_what_a_file_says_wrongly_is_refused_before_anything_starts(self, esper, tmp_path, table, said):
        touched = tmp_path / "touched"
        first = f'[services.first]\nservice = "command"\ncommand = ["touch", "{touched}"]\n'
        (tmp_path / "machine.toml").write_text(f"{first}[services.second]\n{table}\n")
        refused = esper("up", "--config", "machine.toml")
        assert refused.exit_code == 2
        assert said in refused.output
        assert "services.second" in refused.output
        assert not touched.exists()
        assert esper("status").exit_code == 1


class TestFiles:
    def test_the_file_that_is_written_can_be_read(self, esper, tmp_path, plugins):
        assert esper("services", "init", "--output", "machine.toml").exit_code == 0
        data = tomllib.loads((tmp_path / "machine.toml").read_text())
        assert [it.name for it in read_machine(data, plugins.registry).members] == ["nissa", "forge"]

    def test_files_for_others_name_the_file(self, esper, tmp_path):
        esper("services", "init", "--output", "machine.toml")
        assert f'"--config" "{tmp_path}/machine.toml"' in esper("services", "unit", "--config", "machine.toml").output
        compose = esper("services", "compose", "--image", "esper:1", "--config", "machine.toml").output
        assert f"{tmp_path}/machine.toml" in compose

    def test_a_place_that_cannot_be_written_is_named(self, esper):
        refused = esper("services", "init", "--output", "missing/machine.toml")
        assert refused.exit_code != 0
        assert "E513" in refused.output


class TestCommandLines:
    def test_runs_of_one_task_have_names_of_their_own(self, plugins):
        services = machine_data(None, plugins, tasks=["digits", "digits"])["services"]
        assert [name for name in services if name.startswith("digits")] == ["digits", "digits-2"]

    @pytest.mark.parametrize(("bus", "server"), [("redis:", True), ("redis://somewhere", False), ("sqlite:", False)])
    def test_a_scheme_alone_is_a_server_of_its_own(self, plugins, bus, server):
        data = machine_data(None, plugins, bus=bus)
        assert ("bus" in data["services"], data.get("bus")) == (server, None if server else bus)

    @pytest.mark.parametrize("http", ["localhost", "localhost:", ":http"])
    def test_an_address_without_a_port_is_refused(self, plugins, http):
        with pytest.raises(EsperError, match="HOST:PORT"):
            machine_data(None, plugins, http=http)


@pytest.mark.parametrize("columns", [60, 120])
def test_status_is_a_table_with_the_newest_emergencies(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    service = {"name": "digits", "state": "ready", "for_seconds": 3725.0, "restarts": 2, "health": "good"}
    summary = "epoch 3, and much more that nobody can say in a few words, because there is so much of it in this place"
    told = status_lines(
        {
            "mode": "up",
            "up_seconds": 61.0,
            "health": "good",
            "bus": "sqlite:",
            "services": [{**service, "reason": "", "summary": summary}],
            "emergencies": {
                "count": 1,
                "newest": [{"at": "2026-11-29T10:00:00Z", "level": "HALT", "run": "digits-1", "reason": "spent"}],
            },
        }
    )
    assert told[0] == "up for 1m01s, good; bus: sqlite:"
    assert max(map(len, told[1].splitlines())) <= columns
    words = " ".join(told[1].split())
    assert all(it in words for it in ("digits", "1h02m", "epoch 3", "much more"))
    assert told[2:] == ["emergencies: 1", "  2026-11-29T10:00:00  HALT          digits-1: spent"]
