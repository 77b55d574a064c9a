"""``esper plugins lock`` and ``diff``, and commands that keep to a lock."""

import json
from pathlib import Path

import pytest

WATCHER = """
from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_run_finish(result):
    pass
"""


@pytest.fixture
def foo(install):
    """An installed plugin."""
    return install("esper-blueprint-foo", version="0.3.1")


@pytest.fixture
def lock(foo, esper, tmp_path):
    """A lock of everything that is installed."""
    done = esper("plugins", "lock", "-o", "plugins.lock")
    assert (done.returncode, done.stderr) == (0, "wrote plugins.lock\n")
    return tmp_path / "plugins.lock"


def rows(text):
    """The rows of a table of differences: what differs, and in which plugin."""
    return [tuple(line.split()[:2]) for line in text.splitlines()[1:] if line and not line.startswith(("error", " "))]


class TestLock:
    def test_it_holds_what_is_installed_in_call_order(self, foo, esper):
        data = esper.json("plugins", "lock", "--plugins", "blueprint-foo,blueprint-noop,auto")
        assert (data["kind"], data["format"], data["core"]["distribution"]) == ("esper-plugin-lock", 1, "esper-core")
        locked = [it for it in data["plugins"] if not it["plugin"].startswith("kind-")]  # what offers kinds goes first
        assert [it["plugin"] for it in locked[:2]] == ["blueprint-foo", "blueprint-noop"]
        first = locked[0]
        assert (first["version"], len(first["digest"]), first["observes"]) == ("0.3.1", 64, True)

    def test_a_plugin_that_does_not_work_is_not_locked_but_spoken_of(self, install, esper):
        install("esper-bad", code="import nobodys_module\n")
        done = esper("plugins", "lock")
        assert "warning[E102]" in done.stderr
        assert "bad" not in [it["plugin"] for it in json.loads(done.stdout)["plugins"]]

    def test_requirements_are_lines_for_pip(self, foo, esper, tmp_path):
        from packaging.requirements import Requirement

        (tmp_path / "my_watcher.py").write_text(WATCHER)
        done = esper("plugins", "lock", "--format", "requirements", "--plugin-path", "my_watcher.py")
        lines = done.stdout.splitlines()
        assert lines[-1] == "# my_watcher.py is a file, given with --plugin-path"
        pins = {Requirement(line).name: str(Requirement(line).specifier) for line in lines[:-1]}
        assert pins["esper-blueprint-foo"] == "==0.3.1"
        assert {"esper-core", "esper-host-cnn"} <= set(pins)
        assert len(pins) == len(lines) - 1

    def test_an_older_lock_is_replaced(self, lock, install, esper):
        install("esper-blueprint-bar")
        assert esper("plugins", "lock", "-o", str(lock)).returncode == 0
        assert "blueprint-bar" in lock.read_text()

    @pytest.mark.parametrize("form", ["json", "requirements"])
    def test_no_other_file_is_replaced(self, foo, esper, tmp_path, form):
        (tmp_path / "notes.txt").write_text("mine")
        done = esper("plugins", "lock", "--format", form, "-o", "notes.txt")
        assert done.returncode == 2
        assert done.stderr.startswith("error[E173]")
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_an_unwritable_place_is_said(self, foo, esper):
        done = esper("plugins", "lock", "-o", "absent/plugins.lock")
        assert done.returncode == 2
        assert "because No such file or directory" in done.stderr


class TestDiff:
    def test_nothing_has_changed(self, lock, esper):
        done = esper("plugins", "diff", str(lock))
        assert (done.returncode, done.stdout) == (0, "no difference\n")
        assert esper.json("plugins", "diff", str(lock), "--json") == []

    def test_every_difference_is_a_row(self, lock, foo, install, esper):
        install("esper-blueprint-bar")
        (foo / "module.py").write_text("# another\n")
        done = esper("plugins", "diff", str(lock), "--no-plugin", "blueprint-noop")
        assert done.returncode == 1
        assert done.stdout.splitlines()[0].split() == [
            "DIFFERS",
            "PLUGIN",
            "DISTRIBUTION",
            str(lock).upper(),
            "INSTALLED",
        ]
        assert set(rows(done.stdout)) == {
            ("missing", "blueprint-noop"),
            ("digest", "blueprint-foo"),
            ("extra", "blueprint-bar"),
        }

    def test_records_hold_whole_digests(self, lock, foo, esper):
        (foo / "module.py").write_text("# another\n")
        done = esper("plugins", "diff", str(lock), "--json")
        assert done.returncode == 1
        (found,) = json.loads(done.stdout)
        assert (found["differs"], found["plugin"], found["distribution"]) == (
            "digest",
            "blueprint-foo",
            "esper-blueprint-foo",
        )
        assert len(found["first"]) == len(found["second"]) == 64

    def test_two_locks_are_compared_without_what_is_installed(self, lock, esper, tmp_path):
        assert esper("plugins", "lock", "--plugins", "blueprint-foo,auto", "-o", "turned.lock").returncode == 0
        done = esper("plugins", "diff", str(lock), "turned.lock")
        assert done.returncode == 1
        assert [row[0] for row in rows(done.stdout)] == ["order"]

    def test_options_that_select_are_refused_for_two_files(self, lock, esper):
        done = esper("plugins", "diff", str(lock), str(lock), "--plugins", "none")
        assert done.returncode == 2
        assert "leave out B" in done.stderr


class TestLocked:
    """`plugins graph` takes the options of `run`, and builds nothing."""

    def graph(self, esper, *arguments, **options):
        return esper("plugins", "graph", "digits", "--json", *arguments, **options)

    def states(self, done):
        assert done.returncode == 0, done.stderr
        return {it["name"]: it["roles"] for it in json.loads(done.stdout)["plugins"]}

    @pytest.mark.parametrize(
        ("arguments", "environ"),
        [
            (["--locked", "plugins.lock"], {}),
            (["--set", "plugins.locked=plugins.lock"], {}),
            ([], {"ESPER_LOCKED": "plugins.lock"}),
            (["--locked", "plugins.lock"], {"ESPER_PLUGINS": "none"}),
        ],
    )
    def test_exactly_the_locked_plugins_are_loaded(self, lock, install, esper, arguments, environ):
        install("esper-blueprint-bar", code="raise SystemExit('never imported')")
        states = self.states(self.graph(esper, *arguments, environ=environ))
        assert states["blueprint-bar"] == ["not-selected"]
        assert states["blueprint-foo"] == ["unused"]
        assert states["task-vision"] == ["used"]

    @pytest.mark.parametrize("command", [["run"], ["plugins", "graph"]])
    def test_other_code_ends_it_with_exit_code_3_and_a_table(self, lock, foo, esper, command):
        (foo / "plugin.py").write_text("raise SystemExit('never imported')\n")
        done = esper(*command, "digits", "--locked", "plugins.lock")
        assert (done.returncode, done.stdout) == (3, "")
        table, _, error = done.stderr.partition("error[E170]")
        assert rows(table) == [("digest", "blueprint-foo")]
        assert 'not those of "plugins.lock"' in error
        assert "never imported" not in done.stderr

    def test_a_tampered_lock_is_refused(self, lock, esper):
        lock.write_text(lock.read_text().replace('"0.3.1"', '"0.3.2"'))
        done = self.graph(esper, "--locked", str(lock))
        assert done.returncode == 2
        assert done.stderr.startswith("error[E171]")
        assert "changed after it was written" in done.stderr

    def test_an_unknown_format_is_refused(self, lock, esper):
        lock.write_text(lock.read_text().replace('"format": 1', '"format": 7'))
        done = self.graph(esper, "--locked", str(lock))
        assert done.returncode == 2
        assert "error[E172]" in done.stderr

    @pytest.mark.parametrize("option", ["--plugins", "--no-plugin"])
    def test_selecting_plugins_as_well_is_refused(self, lock, esper, option):
        done = self.graph(esper, "--locked", str(lock), option, "blueprint-foo")
        assert done.returncode == 2
        assert done.stderr.startswith("error[E151] the plugins are locked")

    def test_a_file_is_taken_from_where_the_command_line_says_and_nowhere_else(self, foo, esper, tmp_path: Path):
        (tmp_path / "my_watcher.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{WATCHER}")
        assert esper("plugins", "lock", "--plugin-path", "my_watcher.py", "-o", "plugins.lock").returncode == 0
        (tmp_path / "ran").unlink()
        refused = self.graph(esper, "--locked", "plugins.lock")
        assert refused.returncode == 3
        assert f"--plugin-path {tmp_path / 'my_watcher.py'} (a lock loads none)" in refused.stderr
        assert not (tmp_path / "ran").exists()
        (tmp_path / "moved").mkdir()
        (tmp_path / "my_watcher.py").rename(tmp_path / "moved" / "my_watcher.py")
        found = self.graph(esper, "--locked", "plugins.lock", "--plugin-path", "moved/my_watcher.py")
        assert self.states(found)["my-watcher"] == ["observes"]
