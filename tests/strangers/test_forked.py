"""What tries mutations in processes of their own: whatever becomes of a process, each number has its answer."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


forked = _helper("forked")

ENDS = {3: lambda: os.kill(os.getpid(), signal.SIGKILL), 5: lambda: os._exit(0), 6: lambda: sys.exit(4)}


def judge(number):
    if number in ENDS:
        ENDS[number]()
    return "odd" if number % 2 else ""


@pytest.mark.parametrize("workers", [1, 3])
def test_each_number_has_its_answer_whatever_becomes_of_its_process(workers):
    found = dict(forked.tried(lambda: judge, range(100), patience=60, workers=workers))
    ended = {3: "its process ended with -9", 5: "its process ended with 0", 6: "its process ended with 4"}
    assert found == {number: "odd" if number % 2 else "" for number in range(100)} | ended


def test_a_process_that_waits_is_killed_and_the_next_number_goes_on():
    def waits(number):
        if number == 1:
            signal.pause()
        return str(number)

    assert dict(forked.tried(lambda: waits, range(4), patience=2)) == {0: "0", 1: "it hangs", 2: "2", 3: "3"}


def test_processes_share_nothing_that_a_trial_has_changed():
    seen = []

    def remembers(number):
        seen.append(number)
        return str(len(seen))

    found = dict(forked.tried(lambda: remembers, range(90), patience=60))
    assert (found[39], found[40], found[89], seen) == ("40", "1", "10", [])
