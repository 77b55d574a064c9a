import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import RunDirectory, create_run_directory, find_run, write_atomically


def test_runs_get_the_next_free_number_and_last_leads_to_the_newest(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    names = [create_run_directory(runs, None, "digits").name for _ in range(3)]
    assert names == ["digits-1", "digits-2", "digits-3"]
    assert (runs / "last").resolve() == (runs / "digits-3").resolve()


def test_a_gap_is_not_filled_so_that_numbers_tell_age(tmp_path: Path) -> None:
    for name in ("digits-2", "digits-9", "digits-x", "letters-40"):
        (tmp_path / name).mkdir()
    assert create_run_directory(tmp_path, None, "digits").name == "digits-10"


def test_runs_that_start_together_never_share_a_directory(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from esper_runs.run_directory import create_run_directory\n"
        "for _ in range(20): print(create_run_directory(Path(sys.argv[1]), None, 'digits').name)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    names = [name for process in started for name in process.communicate(timeout=60)[0].split()]
    assert sorted(names) == sorted(f"digits-{number}" for number in range(1, 61))


def test_a_run_that_was_just_taken_by_another_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([True, False])
    original = Path.mkdir

    def mkdir(self: Path, *args: object, **kwargs: object) -> None:
        if self.name.startswith("digits-") and next(taken):
            raise FileExistsError(17, "taken")
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert create_run_directory(tmp_path, None, "digits").name == "digits-2"


def test_a_name_of_ones_own_is_used_once(tmp_path: Path) -> None:
    assert create_run_directory(tmp_path, "mine", "digits").path == tmp_path / "mine"
    with pytest.raises(EsperError, match="already") as caught:
        create_run_directory(tmp_path, "mine", "digits")
    assert caught.value.code == "E501"


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(EsperError) as caught:
        create_run_directory(tmp_path / "runs", None, "digits")
    assert caught.value.code == "E501"
    assert "--set runs=" in (caught.value.fix or "")


def test_without_links_last_is_a_file_that_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    created = create_run_directory(tmp_path, None, "digits")
    created.write_json("manifest.json", {})
    assert not (tmp_path / "last").is_symlink()
    assert find_run(tmp_path / "last").name == "digits-1"


def test_a_run_is_found_by_path_and_by_last(tmp_path: Path) -> None:
    created = create_run_directory(tmp_path, None, "digits")
    created.write_json("manifest.json", {})
    assert find_run(tmp_path / "last").path == find_run(tmp_path / "digits-1").path == created.path.resolve()


def test_a_missing_run_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    create_run_directory(tmp_path, None, "digits").write_json("manifest.json", {})
    with pytest.raises(EsperError) as caught:
        find_run(tmp_path / "digit-1")
    assert caught.value.code == "E505"
    assert '"digits-1"' in (caught.value.fix or "")


def test_where_there_are_no_runs_it_says_how_to_begin_one(tmp_path: Path) -> None:
    with pytest.raises(EsperError) as caught:
        find_run(tmp_path / "last")
    assert "esper run TASK" in (caught.value.fix or "")


def test_json_is_strict(tmp_path: Path) -> None:
    RunDirectory(tmp_path).write_json("result.json", {"loss": math.nan, "text": "✓"})
    assert json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail) == {
        "loss": "NaN",
        "text": "✓",
    }


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    write_atomically(path, b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EsperError) as caught:
        RunDirectory(tmp_path).write_text("manifest.json", "new")
    assert (caught.value.code, caught.value.why) == ("E501", "No space left on device")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


def test_importing_it_brings_no_torch() -> None:
    code = "import sys, esper_app.execution.manifest, esper_runs.result; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
