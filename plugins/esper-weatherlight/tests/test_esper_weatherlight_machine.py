"""What a file of services says, what is refused in it, and the files that are made for others."""

import os
import shutil
import subprocess
import sys

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_weatherlight.compose import compose_file
from esper_weatherlight.machine import machine_file, read_machine
from esper_weatherlight.systemd import unit_file


def need(program, package):
    """Skip without a program of Debian's; in CI that is an error."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing: apt-get install {package}")
        pytest.skip(f"{program} is not installed: apt-get install {package}")


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


def command(*requires, **more):
    return {"service": "command", "command": ["true"], "requires": [*requires], **more}


def read(registry, services, **settings):
    return read_machine({**settings, "services": services}, registry)


class TestAFile:
    def test_services_come_behind_those_that_they_require(self, registry):
        found = read(registry, {"c": command("b"), "b": command("a"), "a": command(), "d": command()})
        assert [it.name for it in found.members] == ["a", "b", "c", "d"]

    def test_what_needs_a_bus_comes_behind_the_server_of_one(self, registry):
        found = read(registry, {"run": {"task": "digits"}, "server": {"service": "bus-server"}})
        assert [it.name for it in found.members] == ["server", "run"]
        assert found.members[1].requires == {"server"}

    def test_a_service_without_a_server_of_a_bus_requires_nothing(self, registry):
        assert read(registry, {"run": {"task": "digits"}}).members[0].requires == set()

    def test_restarts_of_a_service_are_those_of_the_machine_where_it_says_nothing(self, registry):
        found = read(
            registry,
            {"a": command(restarts={"budget": 9}), "b": command()},
            restarts={"budget": 2, "first_seconds": 3.0},
        )
        assert [(it.table.restarts.budget, it.table.restarts.first_seconds) for it in found.members] == [
            (9, 3.0),
            (2, 3.0),
        ]

    @pytest.mark.parametrize(
        ("services", "settings", "code", "words"),
        [
            ({"a": command("b")}, {}, "E202", 'requires the service "b"'),
            ({"a": command("b"), "b": command("a")}, {}, "E202", "in a circle"),
            ({"a": {"service": "comand"}}, {}, "E204", "command"),
            ({"a": command(colour="red")}, {}, "E201", "colour"),
            ({"a": command(ready_seconds=0.0)}, {}, "E202", "ready_seconds"),
            ({"a": command(restarts={"budgets": 1})}, {}, "E201", "budget"),
            ({"a": command(restarts=3)}, {}, "E202", "restarts"),
            ({"A b": command()}, {}, "E202", "A b"),
            ({}, {"drain": 3}, "E201", "drain_seconds"),
            ({}, {"http": {"port": 70_000}}, "E202", "port"),
            ([], {}, "E202", "[services.NAME]"),
        ],
    )
    def test_what_is_wrong_is_named(self, registry, services, settings, code, words):
        with pytest.raises(EsperError) as refused:
            read(registry, services, **settings)
        assert refused.value.code == code
        assert words in str(refused.value)

    def test_one_that_cannot_be_read_is_named(self, tmp_path):
        (tmp_path / "bad.toml").write_text("services = [")
        for name, words in (("bad.toml", "not TOML"), ("none.toml", "esper services init")):
            with pytest.raises(EsperError, match="E203") as refused:
                machine_file(tmp_path / name)
            assert words in str(refused.value)


class TestFilesForOthers:
    def test_systemd_takes_the_unit_with_signs_that_mean_something_to_it(self, tmp_path):
        need("systemd-analyze", "systemd")
        folder = tmp_path / 'a $HOME 100 %d "quoted"'
        folder.mkdir()
        file = tmp_path / "esper.service"
        file.write_text(unit_file(["up", "--state", f"{folder}/s"], folder, 30.0))
        found = subprocess.run(
            ["systemd-analyze", "verify", "--user", str(file)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert (found.returncode, found.stderr) == (0, "")
        assert "TimeoutStopSec=45" in file.read_text()
        assert f'"{sys.executable}" "-m" "esper_app.cli" "up"' in file.read_text()
        assert "$$HOME 100 %%d" in file.read_text()

    def test_systemd_would_find_a_fault(self, tmp_path):
        need("systemd-analyze", "systemd")
        file = tmp_path / "esper.service"
        file.write_text(unit_file(["up"], tmp_path, 30.0).replace("ExecStart=", "ExecStarts="))
        found = subprocess.run(
            ["systemd-analyze", "verify", "--user", str(file)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert found.returncode != 0 or "ExecStarts" in found.stderr

    def test_a_unit_cannot_hold_a_line_break(self, tmp_path):
        with pytest.raises(EsperError, match="E513"):
            unit_file(["up", "--state", "a\nb"], tmp_path, 30.0)

    def test_docker_compose_takes_the_file(self, tmp_path):
        need("docker-compose", "docker-compose")
        machine = tmp_path / "a $5 machine.toml"
        machine.write_text("")
        (tmp_path / "compose.yaml").write_text(compose_file("esper:1", machine, 8790, 30.0))
        found = subprocess.run(
            ["docker-compose", "-f", "compose.yaml", "config"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        assert "127.0.0.1:8790" in found.stdout
        assert "stop_grace_period: 45s" in found.stdout
