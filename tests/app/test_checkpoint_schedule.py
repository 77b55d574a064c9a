from attrs import define

from esper_app.configuration.checkpoints import CheckpointsConfig
from esper_app.execution.checkpoint_schedule import CheckpointSchedule


@define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def saved_after(config: CheckpointsConfig, epochs: int, epoch_seconds: float, cost: float = 0.0) -> list[int]:
    """Return the epochs after which a run with this clock is saved."""
    clock = Clock()
    schedule, saved = CheckpointSchedule(config, clock), []
    for epoch in range(epochs):
        clock.now += epoch_seconds
        if schedule.due(epoch):
            clock.now += cost
            schedule.saved(cost)
            saved.append(epoch)
    return saved


def test_by_the_clock_the_newest_checkpoint_is_never_older_than_asked_for() -> None:
    assert saved_after(CheckpointsConfig(), 12, 3.0) == [2, 5, 8, 11]
    assert saved_after(CheckpointsConfig(seconds=20.0), 12, 3.0) == [5, 11]


def test_an_epoch_that_takes_longer_than_that_is_saved_every_time() -> None:
    assert saved_after(CheckpointsConfig(), 3, 60.0) == [0, 1, 2]


def test_short_epochs_are_seldom_saved() -> None:
    assert len(saved_after(CheckpointsConfig(), 1000, 0.05)) == 5


def test_slow_saving_takes_two_per_cent_of_the_time_at_most() -> None:
    saved = saved_after(CheckpointsConfig(), 500, 2.0, cost=1.0)
    assert len(saved) > 5
    assert len(saved[1:]) * 1.0 <= 0.02 * 500 * 2.0 + 1.0


def test_every_goes_by_epochs_whatever_the_clock_says() -> None:
    assert saved_after(CheckpointsConfig(every=2), 6, 100.0) == [1, 3, 5]
    assert saved_after(CheckpointsConfig(every=0), 6, 100.0) == []
    assert not CheckpointSchedule(CheckpointsConfig(every=0)).wanted
