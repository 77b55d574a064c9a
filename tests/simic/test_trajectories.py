"""Trajectories as they are saved in the midst of a round, by whoever saved them."""

import tracemalloc
import zlib

import pytest
import torch

from esper_core.simic.trajectories import TrajectoryLog


def saved(data):
    return {"steps": torch.frombuffer(bytearray(data), dtype=torch.uint8)}


def test_an_empty_log_is_restored():
    log = TrajectoryLog("learner")
    log.restore(TrajectoryLog("learner").tensors())
    assert log.complete == ()


def test_what_is_compressed_beyond_reason_is_refused_before_it_takes_memory():
    bomb = saved(zlib.compress(b'{"complete": [], "open": {}}' + b" " * 100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="times as long"):
            TrajectoryLog("learner").restore(bomb)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"nothing", zlib.compress(b"{}")[:-3]], ids=["empty", "damaged", "cut off"])
def test_what_is_no_whole_stream_is_refused(data):
    with pytest.raises((ValueError, zlib.error)):
        TrajectoryLog("learner").restore(saved(data))
