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
    """Three hosts in two workers: the first one has the first and the third."""

    def event(epoch, host):
        data = {"train": {"seconds": 0.3 * host}, "validation": {"seconds": 0.1}}
        at = epoch * 2.0 + host
        return {"kind": "epoch_completed", "epoch": epoch, "host": f"grown-{host}", "monotonic": at, "data": data}

    events = [event(epoch, host) for epoch in range(5) for host in (2, 3, 1)]
    measured = model.Measured(events, beside={"grown-3": 0.2, "grown-1": 0.0, "grown-2": 0.0}, state=1.0)
    assert model.lasting(measured) == [2.0, 2.0, 2.0]
    assert model.worked(measured) == [pytest.approx([0.4, 0.7, 1.2])] * 4
    assert model.alone(measured, 2) == pytest.approx(2.0 - 1.6)


def test_an_average_epoch_of_unequal_hosts_is_longer_than_a_typical_one(model, figures):
    found = model.simulate(figures(spread=0.8), 8, 8, epochs=2000)
    assert found.seconds > 1.05 * found.typical
