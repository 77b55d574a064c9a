"""What an executor waits for is said while it lasts."""

import threading
import time

import pytest

from esper_app.execution import waiting
from esper_app.execution.waiting import waits_told


class Patient:
    """Waits for one thing after the other, each as long as it takes somebody to have said so."""

    waits_for = ""

    def open(self, capsys, things):
        said = ""
        for thing in things:
            self.waits_for = thing
            deadline = time.monotonic() + 60
            while thing[-7:] not in said and time.monotonic() < deadline:
                said += capsys.readouterr().err
        self.waits_for = ""
        return said


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)


def test_each_thing_is_said_once_and_nothing_afterwards(capsys):
    executor = Patient()
    with waits_told(executor, "far"):
        said = executor.open(capsys, ["starting", "waiting for \x1b[31mactor 1"])
    said += capsys.readouterr().err
    first, second = said.splitlines()
    assert first == "executor far: starting"
    assert second.startswith("executor far: waiting for ")
    assert "\x1b" not in second


def test_what_is_raised_ends_it_too(capsys):
    executor = Patient()
    with pytest.raises(ValueError, match="no room"), waits_told(executor, "far"):
        raise ValueError("no room")
    assert "esper-waits" not in [thread.name for thread in threading.enumerate()]
    assert not capsys.readouterr().err


def test_an_executor_that_waits_for_nothing_needs_not_say_so(capsys):
    with waits_told(object(), "serial"):
        pass
    assert not capsys.readouterr().err
