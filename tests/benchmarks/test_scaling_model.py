"""The model of what many hosts cost does what it says."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def model():
    spec = spec_from_file_location("scaling_model", Path(__file__).with_name("scaling_model.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def figures(model):
    return lambda **changes: model.Figures(
        **{"epoch": 1.0, "spread": 1e-9, "coordination": 0.01, "fixed": 0.1, "events": 2.0, "state": 1e6} | changes
    )


def test_hosts_alike_take_their_share_and_the_process_that_decides_its_own(model, figures):
    found = model.simulate(figures(), 40, 10)
    assert found.seconds == pytest.approx(4 + 0.4 + 0.1)
    assert found.waiting == pytest.approx(0.5 / 4.5)
    assert found.coordinating == pytest.approx(0.5 / 4.5)
    assert found.events == pytest.approx(80 / 4.5)
    assert found.saved == pytest.approx(4.0)
    assert found.bottleneck == "workers"


def test_the_bottleneck_moves_where_there_are_more_workers_than_epoch_over_coordination(model, figures):
    at = {workers: model.simulate(figures(fixed=0.0), 1000, workers, epochs=2).bottleneck for workers in (50, 200)}
    assert at == {50: "workers", 200: "the run's process"}


def test_unequal_hosts_wait_for_the_slowest(model, figures):
    alike, unlike = (model.simulate(figures(spread=spread), 10, 10).waiting for spread in (1e-9, 0.5))
    assert unlike > alike + 0.3


def test_what_a_run_has_said_becomes_figures(model):
    def event(epoch, at, seconds):
        data = {"train": {"seconds": seconds}, "validation": {"seconds": 0.1}}
        return {"kind": "epoch_completed", "epoch": epoch, "monotonic": at, "data": data}

    events = [event(epoch, epoch * 2.0 + host, 0.4) for epoch in range(5) for host in (0.5, 1.0)]
    assert model.lasting(events) == [2.0, 2.0, 2.0]
    assert model.beside(events) == pytest.approx(1.0)
