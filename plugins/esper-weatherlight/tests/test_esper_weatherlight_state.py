"""One supervisor for a state directory: dead ones are recognised, and what they left is ended."""

import json
import subprocess
import sys

import psutil
import pytest

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_weatherlight import log as log_module
from esper_weatherlight.log import ServiceLog
from esper_weatherlight.machine import Machine, MachineSettings, read_machine
from esper_weatherlight.processes import MARK, end_left_behind, left_behind
from esper_weatherlight.state import (
    ask_again,
    find_supervisor,
    folder_of,
    last_log_lines,
    left_running,
    logged_services,
    note_leader,
    noted_leaders,
    stop_supervisor,
    supervising_alone,
    supervisor_status,
)
from esper_weatherlight.supervising import supervise
from esper_weatherlight.supervisor import Supervisor


@pytest.fixture
def left():
    """Starts processes as a supervisor does that is dead by now."""
    begun = []

    def begin(mark):
        begun.append(
            subprocess.Popen(["sleep", "1000"], env={MARK: mark, "PATH": "/usr/bin:/bin"}, start_new_session=True)
        )
        return begun[-1]

    yield begin
    for it in begun:
        it.kill()
        it.wait()


def record(folder, **changes):
    found = {"pid": 2**22 + 1, "began": 1.0, "mark": "m", "url": "http://127.0.0.1:9", "drain_seconds": 1.0} | changes
    (folder / "supervisor.json").write_text(json.dumps(found))


def test_a_second_one_is_refused_with_the_process_that_holds_it(tmp_path):
    with supervising_alone(tmp_path) as first:
        with pytest.raises(EsperError, match="E641") as refused, supervising_alone(tmp_path):
            raise AssertionError
        assert f"process {first.pid}" in str(refused.value)
        assert find_supervisor(tmp_path) == first
    assert find_supervisor(tmp_path) is None
    with supervising_alone(tmp_path):
        pass


def test_what_a_dead_one_has_left_is_ended_before_the_next_begins(tmp_path, left):
    mine, other = left("dead-one"), left("another")
    record(folder_of(tmp_path), mark="dead-one")
    assert find_supervisor(tmp_path) is None
    assert supervisor_status(tmp_path) is None
    assert left_running(tmp_path) == 1
    with supervising_alone(tmp_path) as now:
        assert left_running(tmp_path) == 0
        assert mine.wait(60) in (-9, 0)  # 0: who has killed it has reaped it as well
        assert other.poll() is None
        assert now.mark != "dead-one"


def test_a_process_that_has_its_number_by_now_is_not_it(tmp_path, left):
    stranger = left("a-stranger")
    record(folder_of(tmp_path), pid=stranger.pid, began=psutil.Process(stranger.pid).create_time() - 60)
    assert find_supervisor(tmp_path) is None
    assert stop_supervisor(tmp_path).startswith("the supervisor was dead already; 0 processes")
    assert stranger.poll() is None


def test_down_without_one_says_so_and_a_damaged_record_is_none(tmp_path):
    assert stop_supervisor(tmp_path) == "nothing is running"
    (folder_of(tmp_path) / "supervisor.json").write_text('{"pid": "x"}')
    assert find_supervisor(tmp_path) is None
    with pytest.raises(EsperError, match="esper up"):
        ask_again(tmp_path, "digits")


def test_marked_processes_are_found_whatever_their_group(left):
    begun = left("mine")
    subprocess.Popen([sys.executable, "-IS", "-c", "pass"]).wait()
    assert [it.pid for it in left_behind("mine")] == [begun.pid]
    assert end_left_behind("mine") == 1
    assert not [*left_behind("mine")] or begun.wait(60) == -9


def test_a_leader_that_has_lost_its_mark_is_found_and_no_other_process_of_its_number(left, tmp_path):
    lost, stranger = left("nobody's"), left("nobody's")
    folder_of(tmp_path)
    note_leader(tmp_path, "bus", lost.pid)
    note_leader(tmp_path, "nissa", stranger.pid)
    noted = tmp_path / "weatherlight" / "leaders" / "nissa.json"
    noted.write_text(json.dumps(json.loads(noted.read_text()) | {"began": 1.0}))
    (noted.parent / "forge.json").write_text("{")
    assert [it.pid for it in noted_leaders(tmp_path)] == [lost.pid]
    assert end_left_behind("mine", noted_leaders(tmp_path)) == 1
    assert not psutil.pid_exists(lost.pid)
    assert stranger.poll() is None
    assert noted_leaders(tmp_path) == []


def test_a_process_that_ends_while_it_is_looked_at_is_left_out(monkeypatch):
    class Goes:
        pid = 2**22 + 1

        def environ(self):
            return {MARK: "mine"}

        def status(self):
            raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil, "process_iter", lambda: [Goes()])
    assert end_left_behind("mine") == 0


def test_the_log_gives_the_newest_lines_of_one_service(tmp_path):
    log = ServiceLog(folder_of(tmp_path))
    for number in range(5):
        log.said("one", f"line {number}")
        log.happened("two", "ready")
    log.said("one", "half of a sign: \udcff")
    log.close()
    assert logged_services(tmp_path) == ["one", "two"]
    assert [it["text"] for it in last_log_lines(tmp_path, 3, "one")][:2] == ["line 3", "line 4"]
    assert len(last_log_lines(tmp_path, 100)) == 11


def test_lines_that_are_in_a_predecessor_of_the_log_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "_BYTES", 1000)
    log = ServiceLog(folder_of(tmp_path))
    for number in range(30):
        log.said("quiet" if number == 5 else "loud", f"line {number}")
    log.close()
    assert (folder_of(tmp_path) / "log.jsonl.2").exists()
    assert [it["text"] for it in last_log_lines(tmp_path, 30)] == [f"line {number}" for number in range(30)]
    assert [it["text"] for it in last_log_lines(tmp_path, 2, "quiet")] == ["line 5"]


def test_a_log_that_cannot_be_written_is_told_once_and_ends_nothing(tmp_path, capfd):
    shown = []
    (folder_of(tmp_path) / "log.jsonl").symlink_to("/dev/full")  # every write fails as on a full disk
    log = ServiceLog(folder_of(tmp_path), shown.append)
    log.said("one", "here")
    log.said("one", "still here")
    log.close()
    assert [line.split(maxsplit=1)[1] for line in shown] == [
        "one | here",
        "weatherlight * the log cannot be written: [Errno 28] No space left on device",
        "one | still here",
    ]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("taken", ["weatherlight", "weatherlight/lock", "weatherlight/log.jsonl", "services"])
def test_a_state_directory_that_cannot_be_used_is_named(tmp_path, monkeypatch, taken):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    place = tmp_path / taken
    place.parent.mkdir(exist_ok=True)
    place.mkdir() if "/" in taken else place.write_text("")
    registry = load_plugins().registry
    machine = read_machine({"services": {"one": {"service": "command", "command": ["true"]}}}, registry)
    with pytest.raises(EsperError, match="E612") as refused:
        supervise(machine, registry, tmp_path)
    assert str(place) in refused.value.where


def test_an_error_that_ends_the_supervisor_is_in_its_log(tmp_path, monkeypatch):
    def fails(_):
        raise RuntimeError("out of luck")

    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    monkeypatch.setattr(Supervisor, "step", fails)
    machine = Machine(settings=MachineSettings(bus=f"sqlite:{tmp_path}/bus.sqlite"), members=())
    with pytest.raises(RuntimeError):
        supervise(machine, load_plugins().registry, tmp_path)
    assert last_log_lines(tmp_path, 1)[0]["text"] == "ended by an error: RuntimeError: out of luck"


def test_a_bus_that_services_cannot_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    machine = Machine(settings=MachineSettings(bus="memory:"), members=())
    with pytest.raises(EsperError, match="E614"):
        supervise(machine, load_plugins().registry, tmp_path)
