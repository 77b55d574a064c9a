"""Services under supervision: real processes, and a clock that the test moves on."""

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic
from types import SimpleNamespace

import psutil
import pytest
from attrs import evolve

from esper_core.plugins.loader import load_plugins
from esper_leyline_proto.commands import EmergencyLevel, EmergencySignal
from esper_weatherlight.bus_link import telemetry
from esper_weatherlight.emergencies import Emergencies
from esper_weatherlight.http import HttpServer, status_server
from esper_weatherlight.kinds import ServiceSpec
from esper_weatherlight.log import ServiceLog
from esper_weatherlight.machine import Http, Machine, MachineSettings, Member, Restarts, ServiceTable
from esper_weatherlight.processes import left_behind
from esper_weatherlight.service import Ending, Launch, ProcessService
from esper_weatherlight.supervisor import Mode, Supervisor
from esper_weatherlight.unit import Unit

SPEC = ServiceSpec(name="test", summary="A test's.", factory="esper_weatherlight.service:ProcessService")

#: Runs until it is told to end, and says so.
FOR_EVER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("here", flush=True)
signal.sigwait([signal.SIGTERM])
print("bye", flush=True)
"""


class Python(ProcessService):
    """A program of Python; it is ready when it has printed something, or when `ready_file` is there."""

    def __init__(self, program=FOR_EVER, *, done_at=0, ready=True, runs=()):
        self.program, self.done_at, self.is_ready, self.names = program, done_at, ready, runs

    def start(self, place):
        return Launch(command=[sys.executable, "-IS", "-c", self.program])

    def ready(self, place):
        return self.is_ready

    def ended(self, place, code):
        return Ending.DONE if code == 0 and self.done_at == 0 else super().ended(place, code)

    def runs(self, place):
        return self.names


class Voice:
    def __init__(self):
        self.said = []

    def emergency(self, level, service, reason):
        self.said.append((level, service, reason))


class Run:
    """A supervisor with its services, and the clock."""

    def __init__(self, state: Path, *members: Member, settings=None):
        self.now = 0.0
        self.lines = []
        self.log = ServiceLog(state, self.lines.append)
        self.emergencies = Emergencies(30.0)
        self.voice = Voice()
        self.supervisor = Supervisor(
            Machine(settings=settings or MachineSettings(), members=members),
            state=state,
            registry=load_plugins().registry,
            mark=f"test-{state}",
            log=self.log,
            emergencies=self.emergencies,
            voice=self.voice,
            clock=lambda: self.now,
            random=Random(1),
        )

    def __getitem__(self, name):
        return next(it for it in self.supervisor.units if it.name == name)

    def states(self):
        return {it.name: str(it.state) for it in self.supervisor.units}

    def until(self, true, *, seconds=0.25):
        """Step, each time later by so many seconds of the test's clock, until something is true."""
        end = monotonic() + 120
        while not true():
            assert monotonic() < end, (self.states(), self.lines)
            self.now += seconds
            self.supervisor.step()
            threading.Event().wait(0.01)

    def until_states(self, *, seconds=0.25, **wanted):
        self.until(lambda: all(self[name].state == state for name, state in wanted.items()), seconds=seconds)


def member(name, service=None, *requires, **table):
    restarts = table.pop("restarts", Restarts())
    made = ServiceTable(name=name, service="test", requires=requires, restarts=restarts, **table)
    return Member(table=made, spec=SPEC, service=service or Python(), requires=frozenset(requires))


def ending(it: Member) -> Member:
    return evolve(it, spec=evolve(SPEC, ends=True))


FAILS = "raise SystemExit(1)"
QUICK = Restarts(budget=2, window_seconds=1000.0)


@pytest.fixture
def begin(tmp_path):
    begun = []

    def make(*members, **more):
        begun.append(Run(tmp_path, *members, **more))
        return begun[-1]

    yield make
    for it in begun:
        it.supervisor.close()
        it.log.close()


def signal_of(level, *, service=None, run=None, id="e"):
    attributes = {"service": service} if service else {}
    return EmergencySignal(
        id=id,
        level=level,
        reason="because",
        origin="test",
        triggered_at=datetime.now(UTC),
        run=run,
        attributes=attributes,
    )


class TestOrder:
    def test_what_requires_another_starts_when_that_is_ready(self, begin):
        first = Python(ready=False)
        run = begin(member("first", first), member("second", None, "first"))
        run.until_states(first="starting")
        run.until(lambda: run.now > 10)
        assert run.states() == {"first": "starting", "second": "waiting"}
        first.is_ready = True
        run.until_states(first="ready", second="ready")
        assert run.supervisor.ready

    def test_all_end_in_the_opposite_order(self, begin):
        run = begin(member("first"), member("second", None, "first"), member("third", None, "second"))
        run.until(lambda: sum("| here" in line for line in run.lines) == 3)
        run.supervisor.begin_to_drain("test")
        run.until(lambda: run.supervisor.mode is Mode.DOWN, seconds=0.01)
        ended = [line.split()[1] for line in run.lines if "ended with 0" in line]
        assert ended == ["third", "second", "first"]
        assert sum(" | bye" in line for line in run.lines) == 3

    def test_a_service_that_is_not_ready_in_time_is_started_again(self, begin):
        run = begin(member("slow", Python(ready=False), ready_seconds=5.0))
        run.until(lambda: run["slow"].restarts == 1)
        assert run["slow"].reason == "it was not ready after 5 s"


class TestRestarts:
    def test_a_killed_service_comes_again_and_its_group_is_gone(self, begin):
        parent = (
            "import subprocess, sys, time\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
            "time.sleep(1000)"
        )
        run = begin(member("family", Python(parent)))
        run.until(lambda: len([*left_behind(run["family"]._mark)]) == 2)
        leader, before = run["family"].pid, [*left_behind(run["family"]._mark)]
        os.kill(leader, signal.SIGKILL)
        run.until(lambda: run["family"].restarts == 1)
        psutil.wait_procs(before, timeout=60)
        assert not [it for it in before if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]
        run.until_states(family="ready")
        assert run["family"].pid != leader

    def test_pauses_double_and_the_budget_ends_them(self, begin):
        run = begin(member("bad", Python(FAILS), restarts=QUICK), member("beside"))
        pauses = []
        for _ in range(2):
            run.until_states(bad="backing-off")
            began = run.now
            run.until(lambda: run["bad"].state != "backing-off", seconds=0.01)
            pauses.append(run.now - began)
        assert 1.0 <= pauses[0] <= 1.3
        assert 2.0 <= pauses[1] <= 2.6
        run.until_states(bad="failed", beside="ready")
        assert run["bad"].restarts == 2
        ((level, service, reason),) = run.voice.said
        assert (level, service) == (EmergencyLevel.HALT, "bad")
        assert "2 restarts within 1000 s were not enough" in reason
        assert run.supervisor.health.name == "CRITICAL"

    def test_restarts_long_ago_do_not_count(self, begin):
        run = begin(member("bad", Python(FAILS), restarts=Restarts(budget=1, window_seconds=50.0, longest_seconds=1.0)))
        run.until_states(bad="backing-off")
        run.now += 60.0
        run.until(lambda: run["bad"].restarts == 2)
        assert run["bad"].state == "backing-off"

    def test_what_was_ready_for_long_begins_with_the_first_pause(self, begin):
        run = begin(member("good", restarts=Restarts(stable_seconds=60.0)))
        for _ in range(3):
            run.until_states(good="ready")
            os.kill(run["good"].pid, signal.SIGKILL)
            run.until_states(good="backing-off", seconds=0.0)  # a process may take a while to be gone
        assert run["good"]._pause == 8.0
        run.until_states(good="ready")
        run.until(lambda: run.now - run["good"].since > 61)
        assert run["good"]._pause == 1.0

    def test_a_wrong_command_line_is_hopeless_and_again_tries_it(self, begin):
        service = Python("raise SystemExit(2)")
        run = begin(member("wrong", service))
        run.until_states(wrong="failed")
        assert run["wrong"].restarts == 0
        service.program = FOR_EVER
        run.supervisor.again("wrong")
        run.until_states(wrong="ready")

    def test_what_a_service_raises_is_its_own_failure(self, begin):
        class Raises(Python):
            def start(self, place):
                raise ValueError("no such thing")

        run = begin(member("raises", Raises(), restarts=QUICK), member("beside"))
        run.until_states(raises="failed", beside="ready")
        assert "no such thing" in run["raises"].reason

    def test_a_program_that_is_not_there_is_named(self, begin):
        class Missing(Python):
            def start(self, place):
                return Launch(command=["/no/such/program"])

        run = begin(member("missing", Missing(), restarts=QUICK))
        run.until_states(missing="failed")
        assert "/no/such/program" in run["missing"].reason

    def test_what_is_done_is_not_started_again(self, begin):
        run = begin(ending(member("once", Python("print('did it')"))), member("for-ever"))
        run.until_states(once="done")
        assert run.supervisor.over
        assert run["once"].restarts == 0

    def test_a_run_that_waits_for_what_has_failed_is_over(self, begin):
        wrong = Python("raise SystemExit(2)", ready=False)
        run = begin(member("wrong", wrong), member("between", None, "wrong"), ending(member("run", None, "between")))
        assert not run.supervisor.over
        run.until_states(wrong="failed")
        assert run.states()["run"] == "waiting"
        assert run.supervisor.over
        wrong.program, wrong.is_ready = FOR_EVER, True
        run.supervisor.again("wrong")
        run.until_states(run="ready")
        assert not run.supervisor.over


class TestEmergencies:
    def test_a_failed_service_pauses_what_depends_on_it_until_it_is_started_again(self, begin):
        bad = Python()
        run = begin(member("bad", bad, restarts=Restarts(budget=0)), member("after", None, "bad"), member("beside"))
        run.until_states(after="ready")
        os.kill(run["bad"].pid, signal.SIGKILL)
        run.until_states(bad="failed")
        run.emergencies.hear(signal_of(EmergencyLevel.HALT, service="bad"))
        run.until_states(after="paused", beside="ready")
        assert run["after"].reason == "bad: because"
        run.until(lambda: run.now > 1000, seconds=100)
        assert run["after"].state == "paused"
        run.supervisor.again("bad")
        run.until_states(bad="ready", after="ready")
        assert run["after"].restarts == 0

    def test_a_signal_about_a_run_is_about_the_service_that_does_it_and_passes(self, begin):
        run = begin(member("training", Python(runs=("digits-1",))), member("after", None, "training"))
        run.until_states(after="ready")
        run.until(lambda: run["training"].run_names)
        run.emergencies.hear(signal_of(EmergencyLevel.CONSERVATIVE, run="digits-1"))
        run.until_states(after="paused", training="ready", seconds=0.0)  # a process may take a while to end
        began = run.now
        run.until(lambda: run.now - began > 25)
        assert run["after"].state == "paused"
        run.until_states(after="ready")

    def test_a_signal_about_nobody_here_or_a_notice_pauses_nothing(self, begin):
        run = begin(member("first"), member("second", None, "first"))
        run.until_states(second="ready")
        run.emergencies.hear(signal_of(EmergencyLevel.HALT, run="another-run", id="1"))
        run.emergencies.hear(signal_of(EmergencyLevel.NOTICE, service="first", id="2"))
        run.emergencies.hear(signal_of(EmergencyLevel.NOTICE, service="first", id="2"))
        run.until(lambda: run.now > 100)
        assert run.states() == {"first": "ready", "second": "ready"}
        assert run.supervisor.status()["emergencies"]["count"] == 2


class TestTheEnd:
    STUBBORN = FOR_EVER.replace('print("bye"', 'signal.sigwait([signal.SIGUSR1]); print("bye"')

    def test_what_does_not_end_is_killed_at_the_deadline(self, begin):
        run = begin(member("stubborn", Python(self.STUBBORN)), settings=MachineSettings(drain_seconds=8.0))
        run.until(lambda: any("| here" in line for line in run.lines))
        run.supervisor.begin_to_drain("test")
        began = run.now
        run.until(lambda: run.supervisor.mode is Mode.DOWN, seconds=0.5)
        assert 7.5 <= run.now - began <= 10
        assert not [*left_behind(run["stubborn"]._mark)]

    def test_being_told_twice_kills_at_once(self, begin):
        run = begin(member("stubborn", Python(self.STUBBORN)))
        run.until(lambda: any("| here" in line for line in run.lines))
        run.supervisor.begin_to_drain("test")
        run.supervisor.begin_to_drain("test")
        run.until(lambda: run.supervisor.mode is Mode.DOWN, seconds=0.0)

    def test_what_cannot_be_asked_to_end_is_killed_and_the_others_end(self, begin):
        class Deaf(Python):
            def stop(self, place, leader):
                raise ValueError("no such signal")

        run = begin(member("deaf", Deaf()), member("beside"))
        run.until(lambda: sum("| here" in line for line in run.lines) == 2)
        run.supervisor.begin_to_drain("test")
        run.until(lambda: run.supervisor.mode is Mode.DOWN, seconds=0.01)
        assert run.states() == {"deaf": "stopped", "beside": "stopped"}
        assert any("no such signal" in line for line in run.lines)
        assert sum(" | bye" in line for line in run.lines) == 1

    def test_nothing_is_started_while_all_ends(self, begin):
        run = begin(member("first"), member("second"))
        run.supervisor.begin_to_drain("test")
        run.until(lambda: run.supervisor.mode is Mode.DOWN)
        assert run.states() == {"first": "stopped", "second": "stopped"}


class TestWhatIsTold:
    def test_the_log_says_who_spoke(self, begin, tmp_path):
        run = begin(member("one"))
        run.until(lambda: any("| here" in line for line in run.lines))
        entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        said = {"service": "one", "kind": "output", "text": "here"}
        assert any(said.items() <= it.items() for it in entries)
        assert next(it["state"] for it in entries if it["kind"] == "event") == "starting"

    def test_http_says_what_the_status_is(self, begin):
        run = begin(member("one"), member("bad", Python("raise SystemExit(2)")))
        run.until_states(one="ready", bad="failed")
        server = status_server(Http(), run.supervisor.status)
        try:
            with urllib.request.urlopen(f"{server.url}/status") as answer:
                assert json.loads(answer.read()) == run.supervisor.status()
            for path in ("health", "ready"):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(f"{server.url}/{path}")
                assert refused.value.code == 503
                assert json.loads(refused.value.read()) == run.supervisor.status()
            with urllib.request.urlopen(f"{server.url}/metrics") as answer:
                lines = answer.read().decode().splitlines()
        finally:
            server.close()
        assert 'esper_service_state{service="one",state="ready"} 1.0' in lines
        assert 'esper_service_state{service="bad",state="failed"} 1.0' in lines
        assert 'esper_service_health{service="bad"} 4.0' in lines

    @pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")])
    def test_it_answers_at_addresses_of_both_kinds(self, address, host):
        server = HttpServer(Http(address=address), lambda path: (200, "text/plain", path.encode()))
        try:
            assert server.url.startswith(f"http://{host}:")
            with urllib.request.urlopen(f"{server.url}/here") as answer:
                assert answer.read() == b"/here"
        finally:
            server.close()

    def test_a_process_that_goes_while_another_thread_asks_is_none(self, begin):
        class Goes(Unit):
            answers = iter([SimpleNamespace(leader=7)])
            _process = property(lambda self: next(self.answers, None), lambda self, _: None)

        one = begin(member("one"))["one"]
        gone = Goes(one.member, one.place, mark="m", log=one._log, failed=lambda *_: None)
        gone.close()
        assert gone.status(1.0)["pid"] == 7
        assert gone.status(2.0)["pid"] is None

    def test_telemetry_names_what_is_not_settled(self, begin):
        run = begin(member("one"), member("bad", Python("raise SystemExit(2)")))
        run.until_states(one="ready", bad="failed")
        packet = telemetry(run.supervisor.status(), "p")
        assert packet.health.summary == "bad: failed"
        assert {it.attributes.get("state"): it.value for it in packet.metrics}["failed"] == 1.0
