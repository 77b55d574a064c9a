"""A run whose files cannot be written: it says so by name, and what was saved is kept."""

import os
import resource
import shutil
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.configuration.checkpoints import CheckpointsConfig
from esper_app.execution import saver as saving
from esper_app.execution.checkpoint import FOLDER
from esper_app.execution.saver import Saver
from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import RunDirectory


@contextmanager
def files_up_to(size):
    """No file may become larger than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_the_size_of_files_ends_a_run_with_a_code_and_the_fix(tmp_path):
    runs = tmp_path / "runs"
    settings = ("epochs=2", "twin=none", f"runs={runs}", "checkpoints.every=1", "host.widths=[32, 64]")
    command = ["run", "digits", *(part for setting in settings for part in ("--set", setting))]
    with files_up_to(100_000):
        done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1, done.output
    assert "error[E516]" in done.output
    assert "File too large" in done.output
    assert "fix: make room" in done.output
    assert "Traceback" not in done.output
    assert not (runs / "digits-1" / "result.json").exists()
    left = {path.name for path in (runs / "digits-1").rglob(".*")}
    assert left <= {".lock"}


class Disk:
    """Takes checkpoints as long as there is room."""

    def __init__(self, monkeypatch, path):
        self.room, self.saved, self.told, self.spans = True, [], [], []
        monkeypatch.setattr(saving, "save_checkpoint", self._save)
        self.directory = RunDirectory(path)
        (path / FOLDER).mkdir(parents=True)
        self.saver = Saver(
            self.directory,
            CheckpointsConfig(every=2),
            lambda epoch: epoch,
            first=0,
            tell=self.told.append,
            saved=lambda epoch, began, ended: self.spans.append((epoch, began <= ended)),
        )

    def _save(self, folder, epoch, *, keep):
        if not self.room or not folder.is_dir():
            raise OSError(28, os.strerror(28), str(folder / "epoch-1"))
        self.saved.append(epoch)


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(monkeypatch, tmp_path / "digits-1")


def test_training_goes_on_while_there_is_no_room_and_is_saved_as_soon_as_there_is(disk):
    disk.saver.after_epoch(0)
    disk.saver.after_epoch(1)
    disk.room = False
    for epoch in (2, 3, 4):
        disk.saver.after_epoch(epoch)
    (told,) = disk.told
    assert "after epoch 4" in told
    assert "No space left on device" in told
    disk.room = True
    disk.saver.after_epoch(6)
    assert disk.saved == [2, 7]
    assert disk.spans == [(1, True), (6, True)]


def test_what_cannot_be_written_at_the_end_is_an_error_with_the_way_on(disk):
    disk.saver.after_epoch(0)
    disk.room = False
    with pytest.raises(EsperError) as caught:
        disk.saver.at_the_end()
    assert caught.value.code == "E516"
    assert "begin it again" in caught.value.fix
    (disk.directory.path / FOLDER / "epoch-000001.safetensors").write_bytes(b"x")
    with pytest.raises(EsperError, match="esper run --resume digits-1"):
        disk.saver.at_the_end()


def test_a_run_whose_directory_is_gone_ends_at_once(disk):
    shutil.rmtree(disk.directory.path)
    with pytest.raises(EsperError, match="has been removed") as caught:
        disk.saver.after_epoch(1)
    assert caught.value.code == "E516"
