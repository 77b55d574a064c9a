"""Which steps of a round have nothing after them that counts."""

import pytest

from esper_core.leyline.actions import ActionMasks
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.learning import Ended, Step
from esper_core.leyline.observation import HostSignals, Observation


@pytest.mark.parametrize(
    ("ended", "epoch", "terminal"),
    [
        (Ended.NONE, 3, False),
        (Ended.TRUNCATED, 3, False),
        (Ended.TRUNCATED, 9, True),
        (Ended.TERMINATED, 3, True),
        (Ended.TERMINATED, 9, True),
    ],
)
def test_a_stop_and_the_planned_end_are_terminal_and_what_is_cut_short_is_not(ended, epoch, terminal):
    metrics = EpochMetrics(loss=1.0, accuracy=0.5, samples=10)
    step = Step(
        host="grown",
        epoch=epoch,
        epochs=10,
        observation=Observation(host=HostSignals(epoch=epoch, epochs=10), slots=()),
        masks=ActionMasks(slots=(), blueprints=()),
        after=Evidence(host="grown", epoch=epoch, train=metrics, validation=metrics),
        ended=ended,
    )
    assert step.terminal is terminal
