"""What a run's directory from a stranger can lead to: an error that names the file, and nothing outside of it."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.api import PluginOptions, load_run_plugins
from esper_app.cli.root import cli
from esper_app.execution.checkpoint import FOLDER
from esper_app.execution.run_lock import exclusive
from esper_app.execution.saver import Saver
from esper_app.locks.lock import current_lock
from esper_core.leyline.errors import EsperError
from esper_core.leyline.printable import UNPRINTABLE
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.selection import Selection
from esper_runs.reading import NotAFileError, parse_json, read_regular
from esper_runs.run_directory import RunDirectory, create_run_directory, find_run, write_atomically
from esper_runs.run_record import read_run_record

_spec = importlib.util.spec_from_file_location("sentinels", Path(__file__).with_name("sentinels.py"))
sentinels = sys.modules.setdefault("sentinels", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(sentinels)

COMMANDS = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\x00\x08\r\ud800"


@pytest.fixture
def outside(tmp_path):
    return sentinels.Sentinels(tmp_path / "outside")


@pytest.fixture
def run(make_run):
    files = make_run("digits-1").short_life()
    return RunDirectory(files.write(result=files.result()))


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(it) for it in arguments])


class TestCode:
    """No file is loaded because a file of a run names it."""

    @pytest.fixture
    def received(self, run, outside, monkeypatch):
        """A run whose configuration names its own lock, which names a Python file beside it."""
        code = run.path / "watcher.py"
        code.write_text(sentinels.CODE)
        lock = current_lock(load_plugins(Selection(wanted=("none",), paths=(code,)), sources=()))
        sys.modules.pop("watcher", None)
        (run.path / "imported").unlink(missing_ok=True)
        (run.path / "plugins.lock").write_text(lock.as_json().replace(str(code), "watcher.py"))
        (run.path / "config.toml").write_text('[plugins]\nlocked = "plugins.lock"\n[task]\nname = "digits"\n')
        monkeypatch.chdir(run.path)
        yield run
        sys.modules.pop("watcher", None)

    def test_a_lock_that_a_configuration_names_loads_no_file(self, received):
        with pytest.raises(EsperError) as caught:
            load_run_plugins(received, PluginOptions())
        assert caught.value.code == "E170"
        assert "--plugin-path watcher.py" in caught.value.fix
        assert not (received.path / "imported").exists()

    def test_the_command_line_loads_it(self, received):
        plugins = load_run_plugins(received, PluginOptions(plugin_path=(received.path / "watcher.py",)))
        assert [record.origin.plugin for record in plugins.records if record.status == "active"] == ["watcher"]
        assert (received.path / "imported").exists()

    def test_no_command_loads_it(self, received):
        for command in (["export", "."], ["run", "--resume", "."], ["config", "check", "config.toml"]):
            assert invoke(*command).exit_code != 0
        assert not (received.path / "imported").exists()


class TestPlaces:
    """Nothing outside of a run's directory is touched, whatever stands in the places of its files."""

    def test_its_lock_is_no_link(self, run, outside):
        victim = outside.folder / "notes.txt"
        for make in (Path.symlink_to, Path.hardlink_to):
            make(run.path / ".lock", victim)
            with pytest.raises(EsperError, match=r"\.lock") as caught, exclusive(run):
                pass
            assert caught.value.code == "E508"
            (run.path / ".lock").unlink()
        assert outside.touched() == []

    def test_checkpoints_that_are_elsewhere_are_neither_read_nor_removed(self, run, outside):
        (run.path / FOLDER).symlink_to(outside.folder / "checkpoints")
        with pytest.raises(EsperError, match=FOLDER) as caught:
            Saver(run, None, None, first=0, tell=print, saved=print)._directory.folder(FOLDER)
        assert "symbolic link" in caught.value.why
        (run.path / "result.json").unlink()
        resumed = invoke("run", "--resume", run.path)
        assert resumed.exit_code != 0
        assert outside.touched() == []

    def test_an_export_goes_to_no_link(self, run, outside):
        (run.path / "export").symlink_to(outside.folder)
        done = invoke("export", run.path)
        assert "E508" in done.output
        assert '"export"' in done.output
        assert outside.touched() == []

    def test_a_file_is_never_written_through_a_link(self, run, outside, monkeypatch):
        monkeypatch.setattr("secrets.token_hex", lambda _: "00000000")
        planted = run.path / f".result.json.{os.getpid()}-00000000"
        planted.symlink_to(outside.folder / "notes.txt")
        with pytest.raises(FileExistsError):
            write_atomically(run.path / "result.json", b"new")
        (run.path / "topology.json").symlink_to(outside.folder / ".bashrc")
        write_atomically(run.path / "topology.json", b"new")
        assert (run.path / "topology.json").read_bytes() == b"new"
        assert outside.touched() == []

    @pytest.mark.parametrize("name", ["manifest.json", "result.json", "events.jsonl"])
    def test_a_link_a_pipe_or_a_folder_is_refused_by_name(self, run, outside, name):
        path = run.path / name
        for make in (lambda: path.symlink_to(outside.folder / "other-run" / name), lambda: os.mkfifo(path), path.mkdir):
            path.unlink()
            make()
            with pytest.raises(EsperError, match=name) as caught:
                read_run_record(run)
            assert caught.value.code == "E508"
            if path.is_dir():
                path.rmdir()
                path.touch()
        assert outside.touched() == []

    def test_what_last_says_is_a_name_beside_it(self, run, tmp_path):
        runs = run.path.parent
        (tmp_path / "digits-9").mkdir()
        (tmp_path / "digits-9" / "manifest.json").write_text("{}")
        (runs / "last").write_text("../digits-9")
        with pytest.raises(EsperError) as caught:
            find_run(runs / "last")
        assert caught.value.code == "E505"
        (runs / "last").write_text("digits-1")
        assert find_run(runs / "last").name == "digits-1"
        for text in ("x" * 300, "digits-1\ndigits-2", "\x1b[2J", "", ".."):
            (runs / "last").write_text(text)
            assert "digits-1" in invoke("runs", "--runs", runs).output
        (runs / "last").unlink()
        os.mkfifo(runs / "last")
        assert "digits-1" in invoke("runs", "--runs", runs).output

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    def test_a_last_of_somebody_else_is_not_replaced(self, tmp_path, kind):
        runs = tmp_path / "home"
        runs.mkdir()
        last = runs / "last"
        (tmp_path / "elsewhere").mkdir()
        {"file": lambda: last.write_text("my last will\nand testament"), "folder": last.mkdir}.get(
            kind, lambda: last.symlink_to(tmp_path / "elsewhere")
        )()
        with pytest.raises(EsperError) as caught:
            create_run_directory(runs, None, "digits")
        assert caught.value.code == "E501"
        assert [path.name for path in runs.iterdir()] == ["last"]


class TestLeftovers:
    """What a killed process left behind goes where nobody can be writing it."""

    def test_the_next_write_of_a_file_removes_old_ones(self, tmp_path):
        old, new = tmp_path / ".result.json.123-0123abcd", tmp_path / ".result.json.124-0123abcd"
        for path in (old, new, tmp_path / ".result.json.mine"):
            path.write_text("half")
        os.utime(old, (time.time() - 7200, time.time() - 7200))
        write_atomically(tmp_path / "result.json", b"whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".result.json.124-0123abcd",
            ".result.json.mine",
            "result.json",
        ]

    def test_whoever_holds_the_directory_removes_all(self, run):
        (run.path / "checkpoints").mkdir()
        left = [run.path / ".manifest.json.12", run.path / "checkpoints" / ".epoch-000001.safetensors.12-0123abcd"]
        for path in left:
            path.write_text("half")
        (run.path / ".hidden").write_text("mine")
        with exclusive(run):
            assert not any(path.exists() for path in left)
        assert (run.path / ".hidden").exists()


class TestContent:
    """Content that nobody expects."""

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 2_000 + "1" + "}" * 2_000, "9" * 10_000, "1" + "0" * 25])
    def test_deep_and_huge_json_is_refused(self, text):
        with pytest.raises(ValueError, match=r"nested|integer|digits|Expecting"):
            parse_json(text)

    @pytest.mark.parametrize("name", ["manifest.json", "result.json", "events.jsonl"])
    @pytest.mark.parametrize("text", ["[" * 100_000, '{"name": ' + "9" * 6_000 + "}", "\0", "{}", "[]", "\ud800"])
    def test_every_command_answers(self, run, name, text):
        (run.path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for command in (["show", run.path], ["runs", "--runs", run.path.parent], ["show", run.path, "--json"]):
            done = invoke(*command)
            assert done.exit_code in (0, 1), done.output
            assert done.exit_code == 0 or "error[E508]" in done.output, done.output

    def test_nothing_that_a_file_says_reaches_the_terminal_raw(self, make_run):
        files = make_run("digits-1").short_life()
        manifest, result = files.manifest(name=COMMANDS), files.result(task=COMMANDS)
        manifest["config"]["task"]["name"] = manifest["config"]["policy"]["name"] = COMMANDS
        manifest["plugins"][0]["plugin"] = COMMANDS
        result["seeds"] = [{"host": COMMANDS, "slot": COMMANDS, "seed_id": COMMANDS, "blueprint": COMMANDS}]
        path = files.write(manifest, result)
        events = (path / "events.jsonl").read_text()
        (path / "events.jsonl").write_text(events.replace("it underfits", json.dumps(COMMANDS)[1:-1]))
        for command in (["show", path], ["show", path, "--json"], ["runs", "--runs", path.parent]):
            for more in ([], ["--json"]) if command[0] == "runs" else ([],):
                done = invoke(*command, *more)
                assert not UNPRINTABLE.search(done.output), done.output

    def test_json_says_the_same_with_escapes(self, make_run):
        files = make_run("digits-1").short_life()
        files.write(files.manifest(name=COMMANDS), files.result())
        done = invoke("show", files.path, "--json")
        assert json.loads(done.stdout)["name"] == COMMANDS
        assert "\\u202e" in done.stdout

    def test_an_error_says_nothing_raw_and_no_more_than_fits(self):
        error = EsperError("E202", COMMANDS, why="x" * 100_000, fix="a\nerror[E101] b")
        text = str(error)
        assert not UNPRINTABLE.search(text)
        assert len(text) < 10_000
        assert "\nerror[E101]" not in text

    @pytest.mark.parametrize("size", [1 << 43])
    def test_a_file_larger_than_any_is_not_read(self, tmp_path, size):
        (path := tmp_path / "manifest.json").touch()
        os.truncate(path, size)
        with pytest.raises(NotAFileError, match="bytes"):
            read_regular(path)

    def test_a_device_is_not_read(self):
        with pytest.raises(NotAFileError, match="device"):
            read_regular(Path("/dev/zero"))
