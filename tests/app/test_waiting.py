"""What an executor waits for is said while it lasts."""

import threading
import time

import pytest

from esper_app.execution import waiting
from esper_app.execution.waiting import waits_told


class Patient:
    """Waits for one thing after the other, each as long as it takes somebody to have said so."""

    waits_for = ""

    def open(self, said, things):
        for thing in things:
            self.waits_for = thing
            deadline = time.monotonic() + 60
            while not (said and said[-1].endswith(thing)) and time.monotonic() < deadline:
                time.sleep(0.001)
        self.waits_for = ""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)


def test_each_thing_is_said_once_and_nothing_afterwards(monkeypatch):
    said, executor = [], Patient()

    def note(text, *, err):
        assert err
        said.append(text)

    monkeypatch.setattr(waiting, "echo", note)
    with waits_told(executor, "far"):
        executor.open(said, ["starting", "waiting for actor 1"])
    assert said == ["executor far: starting", "executor far: waiting for actor 1"]


def test_what_a_terminal_would_obey_is_not_written(capsys, monkeypatch):
    executor, wrote, echo = Patient(), threading.Event(), waiting.echo

    def written(*arguments, **options):
        echo(*arguments, **options)
        wrote.set()

    monkeypatch.setattr(waiting, "echo", written)
    with waits_told(executor, "far"):
        executor.waits_for = "waiting for \x1b[31mactor 1"
        assert wrote.wait(60)
    told = capsys.readouterr().err
    assert told.startswith("executor far: waiting for ")
    assert "\x1b" not in told


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
