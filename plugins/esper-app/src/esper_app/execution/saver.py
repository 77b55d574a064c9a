"""Saving a run now and then, and at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, time

from esper_app.configuration.checkpoints import CheckpointsConfig
from esper_app.execution.checkpoint import FOLDER, Checkpoint, newest_checkpoint, save_checkpoint
from esper_app.execution.checkpoint_schedule import CheckpointSchedule
from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import RunDirectory


@contextmanager
def writing(directory: RunDirectory) -> Iterator[None]:
    """Say what it means that a file of a run cannot be written. Raises EsperError E516."""
    try:
        yield
    except (OSError, EsperError) as error:
        cause = error.__cause__ if isinstance(error, EsperError) else error
        if not isinstance(cause, OSError):
            raise
        raise unwritten(directory, cause) from error


def unwritten(directory: RunDirectory, error: OSError) -> EsperError:
    """Return the error that a run's files cannot be written any more."""
    why, name = error.strerror or str(error), directory.name
    if not directory.path.is_dir():
        why, fix = "its directory has been removed", "begin it again: nothing of it is left"
    elif newest_checkpoint(directory.path / FOLDER) is None:
        fix = "make room, and begin it again: no checkpoint was written so far"
    else:
        fix = f"make room, and go on from the newest checkpoint: esper run --resume {name}"
    where = str(error.filename or directory.path)
    return EsperError("E516", f'run "{name}" cannot be written any more', where=where, why=why, fix=fix)


class Saver:
    """Writes a run's checkpoints.

    Args:
        directory: the run's.
        config: when to save, and how many to keep.
        checkpoint: returns the run before an epoch.
        first: the epoch with which the run begins or goes on.
        tell: takes what a person should know.
        saved: is told of each checkpoint: the epoch behind which it is, from 0, and when it was begun and done, in
            seconds since 1970.
    """

    def __init__(
        self,
        directory: RunDirectory,
        config: CheckpointsConfig,
        checkpoint: Callable[[int], Checkpoint],
        *,
        first: int,
        tell: Callable[[str], None],
        saved: Callable[[int, float, float], None],
    ) -> None:
        self._tell_saved = saved
        self._directory = directory
        self._tell = tell
        self._failed = False
        self._config = config
        self._checkpoint = checkpoint
        self._schedule = CheckpointSchedule(config)
        self._epoch = self._saved = first

    def after_epoch(self, epoch: int, *, now: bool = False) -> None:
        """Save if it is time, or if it was and could not be done, or `now` if the run is saved at all.

        While there is no room the training goes on, and the earlier checkpoints stay; that is told once.

        Raises:
            EsperError: E516 if the run's directory is gone.
        """
        self._epoch = epoch + 1
        if not self._schedule.due(epoch) and not self._failed and not (now and self._schedule.wanted):
            return
        try:
            self._save()
            self._failed = False
        except OSError as error:
            if not self._directory.path.is_dir():
                raise unwritten(self._directory, error) from error
            if not self._failed:
                self._failed = True
                why = f"the checkpoint after epoch {self._epoch} cannot be written: {error.strerror or error}"
                self._tell(f"{why}; the training goes on, and it is tried again after each epoch")

    def at_the_end(self) -> None:
        """Save what has come since the newest checkpoint: a run that was interrupted goes on from here.

        Raises:
            EsperError: E516 if it cannot be written.
        """
        if self._schedule.wanted and self._saved < self._epoch:
            with writing(self._directory):
                self._save()

    def _save(self) -> None:
        began, moment = perf_counter(), time()
        save_checkpoint(self._directory.folder(FOLDER), self._checkpoint(self._epoch), keep=self._config.keep)
        self._saved = self._epoch
        self._schedule.saved(perf_counter() - began)
        self._tell_saved(self._epoch - 1, moment, time())
