import json
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from esper_app.locks.lock import LockedPlugin, PluginLock, current_lock, read_lock
from esper_app.locks.lock_difference import Differs, differences, keep_to
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain, to_json
from esper_core.plugins.selection import Selection

CORE = LockedPlugin(plugin="esper-core", distribution="esper-core", version="1", digest="c")

FILE_PLUGIN = """
from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_run_finish(result):
    pass
"""


def plugin(name: str, **changes: Any) -> LockedPlugin:
    return LockedPlugin(**({"plugin": name, "distribution": f"esper-{name}", "version": "1", "digest": "d"} | changes))


def lock(*plugins: LockedPlugin, core: LockedPlugin = CORE) -> PluginLock:
    return PluginLock(core=core, plugins=plugins)


A, B, C = plugin("a"), plugin("b"), plugin("c")


def told(first: PluginLock, second: PluginLock) -> list[tuple[Differs, str, str | None, str | None]]:
    return [(it.differs, it.plugin, it.first, it.second) for it in differences(first, second)]


class TestDifferences:
    def test_a_lock_does_not_differ_from_itself(self) -> None:
        assert not differences(lock(A, B), lock(A, B))

    def test_what_only_one_has_is_missing_or_extra(self) -> None:
        assert told(lock(A, B), lock(B, C)) == [(Differs.MISSING, "a", "1", None), (Differs.EXTRA, "c", None, "1")]

    def test_a_version_goes_before_the_code_that_it_changes(self) -> None:
        newer = plugin("a", version="2", digest="e")
        assert told(lock(A), lock(newer)) == [(Differs.VERSION, "a", "1", "2")]

    def test_other_code_under_the_same_version_is_a_difference(self) -> None:
        assert told(lock(A), lock(plugin("a", digest="e"))) == [(Differs.DIGEST, "a", "d", "e")]

    def test_the_core_counts(self) -> None:
        newer = evolve(CORE, version="2")
        assert told(lock(A), lock(A, core=newer)) == [(Differs.VERSION, "esper-core", "1", "2")]

    def test_the_order_of_what_both_have_counts(self) -> None:
        assert told(lock(A, B), lock(B, A)) == [(Differs.ORDER, "a", "1", "2")]
        assert [it[0] for it in told(lock(A, B), lock(C, A, B))] == [Differs.EXTRA]

    def test_names_are_compared_as_indexes_do(self) -> None:
        assert not differences(lock(plugin("a", distribution="Esper_A")), lock(A))

    def test_where_a_file_lies_is_no_difference(self) -> None:
        here, there = (plugin("a", distribution=None, version=None, file=f"{place}/a.py") for place in ("x", "y"))
        assert not differences(lock(here), lock(there))
        assert lock(here).digest == lock(there).digest

    @given(st.permutations([A, B, C]), st.permutations([A, B, C]))
    def test_orders_are_equal_or_differ(self, first: list[LockedPlugin], second: list[LockedPlugin]) -> None:
        assert bool(differences(lock(*first), lock(*second))) is (first != second)

    @pytest.mark.parametrize("change", [{"version": "2"}, {"digest": "e"}, {"entry_point": "x"}, {"observes": True}])
    def test_the_digest_covers_what_is_said_of_a_plugin(self, change: dict[str, Any]) -> None:
        assert lock(plugin("a", **change)).digest != lock(A).digest
        assert lock(A, core=evolve(CORE, **change)).digest != lock(A).digest


class TestReading:
    def write(self, folder: Path, **changes: Any) -> Path:
        path = folder / "plugins.lock"
        path.write_text(json.dumps(json.loads(lock(A, B).as_json()) | changes))
        return path

    def refused(self, path: Path) -> EsperError:
        with pytest.raises(EsperError) as raised:
            read_lock(path)
        return raised.value

    def test_a_lock_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        assert read_lock(self.write(tmp_path)) == lock(A, B)

    @pytest.mark.parametrize(
        "changes",
        [
            {"plugins": []},
            {"plugins": plain([B, A])},
            {"plugins": plain([A, plugin("b", version="2")])},
            {"core": plain(evolve(CORE, digest="x"))},
            {"digest": "0" * 64},
        ],
    )
    def test_a_changed_lock_is_refused(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        error = self.refused(self.write(tmp_path, **changes))
        assert error.code == "E171"
        assert "changed after it was written" in str(error.why)

    @pytest.mark.parametrize("format", [0, 2, "1", None])
    def test_another_format_is_refused(self, tmp_path: Path, format: object) -> None:
        error = self.refused(self.write(tmp_path, format=format))
        assert error.code == "E172"
        assert f"format {format!r}" in error.what

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("{", "not JSON"),
            ("[]", "neither a lock nor the manifest"),
            ('{"format": 1}', "neither a lock nor the manifest"),
            (b"\xff\xfe\x00", "not JSON"),
            (lock(A, A).as_json(), "names a plugin twice"),
            (lock(A).as_json().replace('"plugin": "a",', ""), "incomplete: 'plugin'"),
            (lock(A).as_json().replace('"plugin": "a"', '"plugin": 1'), "incomplete: "),
            (to_json(json.loads(lock(A).as_json()) | {"plugins": ["a"]}), "incomplete: "),
        ],
    )
    def test_what_is_no_lock_is_refused(self, tmp_path: Path, text: str | bytes, why: str) -> None:
        path = tmp_path / "plugins.lock"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        error = self.refused(path)
        assert error.code == "E171"
        assert why in str(error.why)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        error = self.refused(tmp_path / "absent.lock")
        assert (error.code, error.why) == ("E171", "No such file or directory")

    @pytest.mark.parametrize("name", ["digits-1", "last"])
    def test_a_run_is_found_by_its_name_unless_a_file_has_it(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "runs/digits-1").mkdir(parents=True)
        (tmp_path / "runs/last").symlink_to("digits-1")
        data = json.loads(lock(A).as_json())
        manifest = {
            "format": data["format"],
            "plugins": [{**it, "used": True} for it in data["plugins"]],
            "plugins_digest": data["digest"],
        }
        (tmp_path / "runs/digits-1/manifest.json").write_text(to_json({**manifest, "core": data["core"]}))
        assert read_lock(Path(name)).of_run
        if name != "last":
            (tmp_path / name).write_text(lock(A).as_json())
            assert not read_lock(Path(name)).of_run

    def test_a_folder_that_is_no_run_is_said_to_be_none(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path).code == "E505"


class TestKeeping:
    """What is installed is compared with a lock before anything is imported."""

    @pytest.fixture
    def locked(self, install: Any, load: Any) -> PluginLock:
        install("esper-blueprint-one")
        install("esper-blueprint-two")
        return current_lock(load())

    def kept(self, lock: PluginLock, *paths: Path) -> list[tuple[Differs, str]]:
        return [(it.differs, it.plugin) for it in keep_to(lock, Selection(paths=paths))[1]]

    def test_what_was_locked_is_accepted(self, locked: PluginLock) -> None:
        selection, found = keep_to(locked, Selection(lock=Path("x.lock")))
        assert not found
        assert selection.wanted == ("esper-blueprint-one:blueprint-one", "esper-blueprint-two:blueprint-two")

    def test_the_order_is_that_of_the_lock(self, locked: PluginLock, load: Any) -> None:
        turned = evolve(locked, plugins=locked.plugins[::-1])
        selection, found = keep_to(turned, Selection())
        assert not found
        assert [r.origin.plugin for r in load(selection).records] == ["blueprint-two", "blueprint-one"]

    def test_what_else_is_installed_is_left_out(self, locked: PluginLock, install: Any, load: Any) -> None:
        install("esper-blueprint-three")
        selection, found = keep_to(locked, Selection())
        assert not found
        assert load(selection).registry.names("blueprint") == ("one", "two")

    @pytest.mark.parametrize("file", ["plugin.py", "module.py", "config.py"])
    def test_a_changed_file_changes_the_digest(self, locked: PluginLock, site: Path, file: str) -> None:
        with (site / "esper_blueprint_two" / file).open("a") as code:
            code.write("# changed\n")
        assert self.kept(locked) == [(Differs.DIGEST, "blueprint-two")]

    def test_a_new_version_and_a_missing_plugin_are_told(self, locked: PluginLock, site: Path) -> None:
        (site / "esper_blueprint_one-0.1.0.dist-info" / "entry_points.txt").unlink()
        metadata = site / "esper_blueprint_two-0.1.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("0.1.0", "0.2.0"))
        invalidate_caches()
        assert self.kept(locked) == [(Differs.MISSING, "blueprint-one"), (Differs.VERSION, "blueprint-two")]

    def test_another_core_is_told(self, locked: PluginLock) -> None:
        other = evolve(locked, core=evolve(locked.core, digest="x"))
        assert self.kept(other) == [(Differs.DIGEST, "esper-core")]

    def test_only_what_the_lock_says_observes_unused(self, install: Any, load: Any) -> None:
        install("esper-blueprint-one")
        install("esper-blueprint-two")
        locked = current_lock(load(Selection(wanted=("auto", "blueprint-two"))))
        assert [it.observes for it in locked.plugins] == [False, True]
        assert load(keep_to(locked, Selection())[0]).named == {"blueprint-two"}

    def test_an_empty_lock_loads_nothing(self, locked: PluginLock, load: Any) -> None:
        selection, found = keep_to(evolve(locked, plugins=()), Selection())
        assert not found
        assert not load(selection).registry.names("blueprint")


class TestFiles:
    """A one-file plugin is found where the command line says, and nowhere else: a lock never loads a file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (file := tmp_path / "my_watcher.py").write_text(FILE_PLUGIN)
        return file

    @pytest.fixture
    def locked(self, install: Any, load: Any, file: Path) -> PluginLock:
        install("esper-blueprint-one")
        return current_lock(load(Selection(paths=(file,))))

    def test_it_is_accepted_where_it_is_named(self, locked: PluginLock, file: Path) -> None:
        selection, found = keep_to(locked, Selection(paths=(file,)))
        assert not found
        assert selection.paths == (file,)
        assert selection.observing == {"my-watcher"}

    def test_that_the_lock_names_it_does_not_load_it(self, locked: PluginLock, file: Path) -> None:
        selection, found = keep_to(locked, Selection())
        assert selection.paths == ()
        assert [(it.differs, it.plugin) for it in found] == [(Differs.MISSING, "my-watcher")]

    def test_it_is_accepted_where_it_is_now(self, locked: PluginLock, file: Path, tmp_path: Path) -> None:
        (tmp_path / "moved").mkdir()
        moved = file.rename(tmp_path / "moved" / file.name)
        del sys.modules["my_watcher"]  # a run reads its lock in a process of its own
        assert [it.differs for it in keep_to(locked, Selection())[1]] == [Differs.MISSING]
        selection, found = keep_to(locked, Selection(paths=(moved,)))
        assert (selection.paths, found) == ((moved,), ())

    def test_another_content_is_refused(self, locked: PluginLock, file: Path) -> None:
        file.write_text(FILE_PLUGIN + "# changed\n")
        assert [it.differs for it in keep_to(locked, Selection(paths=(file,)))[1]] == [Differs.DIGEST]

    def test_one_that_the_lock_does_not_have_is_extra(self, locked: PluginLock, file: Path, tmp_path: Path) -> None:
        (other := tmp_path / "my_other.py").write_text(FILE_PLUGIN)
        (found,) = keep_to(locked, Selection(paths=(file, other)))[1]
        assert (found.differs, found.plugin, found.distribution) == (Differs.EXTRA, "my-other", None)

    def test_it_cannot_be_called_before_installed_ones(self, locked: PluginLock, file: Path) -> None:
        (found,) = keep_to(evolve(locked, plugins=locked.plugins[::-1]), Selection(paths=(file,)))[1]
        assert (found.differs, found.plugin) == (Differs.ORDER, "my-watcher")
