"""`esper status`, `esper down` and `esper services` where nothing is up, and what command lines stand for."""

import json
import subprocess
import tomllib
from io import StringIO

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app_up.command import status_page
from esper_app_up.machine import machine_data
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_runs.terminal import Terminal
from esper_weatherlight.log import ServiceLog
from esper_weatherlight.machine import read_machine
from esper_weatherlight.processes import MARK
from esper_weatherlight.state import folder_of


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
        told = esper("services", "log")
        assert (told.exit_code, told.output) == (0, "nothing has been logged; begin with: esper up\n")
        assert esper("services", "log", "--json").output == ""
        assert not (tmp_path / "state").exists()

    def test_a_service_cannot_be_started_again_and_nothing_is_made(self, esper, tmp_path):
        refused = esper("services", "again", "digits")
        assert refused.exit_code == 1
        assert "E642" in refused.output
        assert not (tmp_path / "state").exists()


class TestAfterASupervisor:
    def test_a_service_that_the_log_does_not_know_is_told_with_the_nearest(self, esper, tmp_path):
        log = ServiceLog(folder_of(tmp_path / "state"))
        log.said("nissa", "here")
        log.close()
        assert esper("services", "log", "nisa").output == 'the log has nothing of "nisa"; did you mean "nissa"?\n'

    def test_what_a_dead_one_has_left_is_told(self, esper, tmp_path):
        record = {"pid": 2**22 + 1, "began": 1.0, "mark": "left-by-a-dead-one", "url": "", "drain_seconds": 1.0}
        (folder_of(tmp_path / "state") / "supervisor.json").write_text(json.dumps(record))
        assert esper("status").output == "no services are supervised; begin with: esper up\n"
        left = subprocess.Popen(["sleep", "1000"], env={MARK: "left-by-a-dead-one", "PATH": "/usr/bin:/bin"})
        try:
            told = esper("status")
            assert told.exit_code == 1
            assert "1 processes that it had started go on alone" in told.output
            assert esper("down").output.startswith("the supervisor was dead already; 1 processes")
        finally:
            left.kill()
            left.wait()


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


class TestNothingToDo:
    @pytest.mark.parametrize("content", ["", "# nothing\n", "[http]\nport = 0\n"])
    def test_a_file_without_services_is_refused(self, esper, tmp_path, content):
        (tmp_path / "machine.toml").write_text(content)
        refused = esper("up", "--config", "machine.toml")
        assert refused.exit_code == 2
        assert "there are no services" in refused.output
        assert "machine.toml" in refused.output

    def test_to_end_with_the_runs_needs_a_run(self, esper, tmp_path):
        (tmp_path / "machine.toml").write_text('[services.one]\nservice = "command"\ncommand = ["true"]\n')
        refused = esper("up", "--config", "machine.toml", "--until-done")
        assert refused.exit_code == 2
        assert "--run TASK" in refused.output


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


def drawn(width, *services):
    out = StringIO()
    terminal = Terminal(out, width)
    signal = {"at": "2026-11-29T10:00:00Z", "level": "HALT", "run": "digits-1", "reason": "spent"}
    found = {
        "mode": "up",
        "up_seconds": 61.0,
        "health": "good",
        "bus": "sqlite:",
        "services": services,
        "emergencies": {"count": 1, "newest": [signal]},
    }
    terminal.print(*status_page(found, terminal))
    return out.getvalue().splitlines()


SERVICE = {
    "name": "digits",
    "state": "ready",
    "for_seconds": 3725.0,
    "restarts": 2,
    "health": "healthy",
    "reason": "",
    "summary": "http://127.0.0.1:33739: 240 messages, 1 runs, 4 alerts",
}


def test_status_is_a_table_with_the_newest_emergencies():
    told = drawn(120, SERVICE)
    assert told[0] == "up for 1m01s, good; bus: sqlite:"
    assert all(it in told[3] for it in ("digits", "1h02m", "240 messages, 1 runs, 4 alerts"))
    assert told[4:] == ["emergencies: 1", "  2026-11-29T10:00:00  HALT          digits-1: spent"]


def test_status_fits_a_narrow_terminal():
    told = drawn(60, SERVICE, {**SERVICE, "name": "forge", "state": "backing-off"})
    assert max(map(len, told)) <= 60
    assert all(it in "\n".join(told) for it in ("backing-off", "messages", "healthy"))
    assert "FOR" not in told[1]
