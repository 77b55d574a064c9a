"""When a run is saved: often enough that little training can be lost, and seldom enough to cost next to nothing."""

from collections.abc import Callable
from time import perf_counter

from esper_app.configuration.checkpoints import CheckpointsConfig

#: Saving may take up this share of a run's time.
MOST_TIME = 0.02


class CheckpointSchedule:
    """Says after which epochs to save.

    With `every` in the configuration, by the number of epochs. Otherwise by the clock: whenever the newest checkpoint
    would be older than `seconds` at the end of the next epoch, if that takes as long as the last one. Where saving is
    slow enough to cost more than `MOST_TIME` of the run, the interval grows with it.

    Args:
        config: the configuration.
        clock: seconds.
    """

    def __init__(self, config: CheckpointsConfig, clock: Callable[[], float] = perf_counter) -> None:
        self._config = config
        self._clock = clock
        self._saved_at = self._epoch_began = clock()
        self._cost = 0.0

    @property
    def wanted(self) -> bool:
        """The run is saved at all."""
        return self._config.every != 0

    def due(self, epoch: int) -> bool:
        """Say whether to save after this epoch (from 0), which has just ended. Ask once an epoch."""
        now = self._clock()
        last, self._epoch_began = now - self._epoch_began, now
        if self._config.every is not None:
            return self.wanted and (epoch + 1) % self._config.every == 0
        longest = max(self._config.seconds, self._cost / MOST_TIME)
        return now - self._saved_at + last > longest

    def saved(self, cost: float) -> None:
        """The run has been saved, which took `cost` seconds."""
        self._cost = cost
        self._saved_at = self._epoch_began = self._clock()
