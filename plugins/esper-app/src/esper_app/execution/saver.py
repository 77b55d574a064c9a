"""Saving a run now and then, and at its end."""

from collections.abc import Callable
from time import perf_counter

from esper_app.configuration.config import CheckpointsConfig
from esper_app.execution.checkpoint import FOLDER, Checkpoint, save_checkpoint
from esper_app.execution.checkpoint_schedule import CheckpointSchedule
from esper_runs.run_directory import RunDirectory


class Saver:
    """Writes a run's checkpoints.

    Args:
        directory: the run's.
        config: when to save, and how many to keep.
        checkpoint: returns the run before an epoch.
        first: the epoch with which the run begins or goes on.
    """

    def __init__(
        self, directory: RunDirectory, config: CheckpointsConfig, checkpoint: Callable[[int], Checkpoint], *, first: int
    ) -> None:
        self._directory = directory
        self._config = config
        self._checkpoint = checkpoint
        self._schedule = CheckpointSchedule(config)
        self._epoch = self._saved = first

    def after_epoch(self, epoch: int) -> None:
        """Save if it is time. Raises OSError if it cannot be written; the earlier checkpoints are still there then."""
        self._epoch = epoch + 1
        if self._schedule.due(epoch):
            self._save()

    def at_the_end(self) -> None:
        """Save what has come since the newest checkpoint: a run that was interrupted goes on from here."""
        if self._schedule.wanted and self._saved < self._epoch:
            self._save()

    def _save(self) -> None:
        began = perf_counter()
        save_checkpoint(self._directory.folder(FOLDER), self._checkpoint(self._epoch), keep=self._config.keep)
        self._saved = self._epoch
        self._schedule.saved(perf_counter() - began)
