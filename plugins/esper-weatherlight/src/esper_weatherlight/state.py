"""What a supervisor leaves in the state directory, so that other processes find it, ask it, and end it."""

import json
import os
import secrets
import signal
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
from attrs import asdict, frozen
from filelock import FileLock, Timeout

from esper_core.leyline.errors import EsperError
from esper_runs.reading import parse_object, read_regular
from esper_runs.run_directory import write_atomically
from esper_weatherlight.log import FILE as LOG
from esper_weatherlight.log import KEPT
from esper_weatherlight.processes import end_left_behind, left_behind

_RECORD, _LOCK, _AGAIN, _LEADERS = "supervisor.json", "lock", "again", "leaders"

#: Processes of one number that began no further apart are one.
_SAME_SECONDS = 0.5

#: Seconds that a supervisor that is there may take to answer.
_PATIENCE = 10.0


@frozen(kw_only=True)
class SupervisorRecord:
    """What a supervisor says of itself.

    Attributes:
        pid: its process.
        began: when that began, in seconds since 1970: another process may have its number by now.
        mark: what it has put into the environment of all that it has started.
        url: where it answers; "": it does not yet.
        drain_seconds: after so long, and a little more, it has ended when it is told to.
    """

    pid: int
    began: float
    mark: str
    url: str = ""
    drain_seconds: float = 0.0

    def lives(self) -> bool:
        """Say whether the process is there."""
        with suppress(psutil.Error):
            process = _same_process(self.pid, self.began)
            return process is not None and bool(process.status() != psutil.STATUS_ZOMBIE)
        return False


def folder_path(state: Path) -> Path:
    """Return the supervisor's folder in a state directory; nothing is made."""
    return state / "weatherlight"


def folder_of(state: Path) -> Path:
    """Return the supervisor's folder in a state directory, which is made if need be. Raises EsperError E612."""
    return made_folder(folder_path(state) / _AGAIN).parent


def made_folder(folder: Path) -> Path:
    """Return a folder of the state directory, which is made if need be, for its owner only. Raises EsperError E612."""
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def usable(place: Path) -> Iterator[None]:
    """Do something to a place in the state directory. Raises EsperError E612 for what the operating system refuses."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise EsperError("E612", "the state directory cannot be used", where=str(place), why=why) from error


@contextmanager
def supervising_alone(state: Path) -> Iterator[SupervisorRecord]:
    """Be the one supervisor of a state directory; what a dead one has left running is ended first.

    The operating system lets go of the lock when the process ends, however that happens.

    Raises:
        EsperError: E641 if another supervisor lives, E612 if the state directory cannot be used.
    """
    folder = folder_of(state)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        holder = _read(folder)
        why = "another supervisor" if holder is None else f"the supervisor in process {holder.pid}"
        raise EsperError(
            "E641",
            "the services of this state directory are supervised already",
            where=str(folder),
            why=f"{why} holds it",
            fix="look at it with `esper status`, end it with `esper down`, or give another --state",
        ) from error
    except OSError:
        with usable(folder / _LOCK):
            raise
    try:
        before = _read(folder)
        if before is not None:
            end_left_behind(before.mark, noted_leaders(state))
        record = SupervisorRecord(pid=os.getpid(), began=psutil.Process().create_time(), mark=secrets.token_hex(16))
        write_record(folder, record)
        for left in (folder / _AGAIN).iterdir():
            left.unlink()
        try:
            yield record
        finally:
            (folder / _RECORD).unlink(missing_ok=True)
    finally:
        lock.release()


def note_leader(state: Path, service: str, pid: int) -> None:
    """Write down which process leads a service: its mark is lost where it writes over its environment.

    What cannot be written is left out: the mark is still there.
    """
    with suppress(OSError, psutil.Error):
        folder = folder_path(state) / _LEADERS
        folder.mkdir(mode=0o700, exist_ok=True)
        began = psutil.Process(pid).create_time()
        write_atomically(folder / f"{service}.json", json.dumps({"pid": pid, "began": began}).encode())


def noted_leaders(state: Path) -> list[psutil.Process]:
    """Return the processes that led services when they were noted, as far as they are still the same ones."""
    found: list[psutil.Process] = []
    folder = folder_path(state) / _LEADERS
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, KeyError, TypeError, ValueError, psutil.Error):
            data = parse_object(read_regular(path, inside=folder, largest=65_536))
            if process := _same_process(int(data["pid"]), float(data["began"])):
                found.append(process)
    return found


def _same_process(pid: int, began: float) -> psutil.Process | None:
    """The process of this number, if it began then: another one may have it by now. Raises psutil.Error without one."""
    process = psutil.Process(pid)
    return process if abs(process.create_time() - began) < _SAME_SECONDS else None


def write_record(folder: Path, record: SupervisorRecord) -> None:
    """Let others find a supervisor. Raises EsperError E612."""
    with usable(folder):
        write_atomically(folder / _RECORD, json.dumps(asdict(record)).encode())


def _read(folder: Path) -> SupervisorRecord | None:
    try:
        data = parse_object(read_regular(folder / _RECORD, inside=folder, largest=65_536))
        return SupervisorRecord(
            pid=int(data["pid"]),
            began=float(data["began"]),
            mark=str(data["mark"]),
            url=str(data["url"]),
            drain_seconds=float(data["drain_seconds"]),
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None


def find_supervisor(state: Path) -> SupervisorRecord | None:
    """Return the supervisor of a state directory that lives; None if none does."""
    found = _read(folder_path(state))
    return found if found is not None and found.lives() else None


def left_running(state: Path) -> int:
    """Return how many processes go on that a supervisor of a state directory has started which is dead by now."""
    found = _read(folder_path(state))
    return 0 if found is None or found.lives() else sum(1 for _ in left_behind(found.mark, noted_leaders(state)))


def supervisor_status(state: Path) -> dict[str, Any] | None:
    """Return what the supervisor of a state directory answers under ``/status``; None if none lives.

    Raises:
        EsperError: E642 if it lives, and does not answer.
    """
    end, pause = monotonic() + _PATIENCE, threading.Event()
    why = "it has not begun to answer"
    while (found := find_supervisor(state)) is not None:
        if found.url:
            try:
                with urllib.request.urlopen(f"{found.url}/status", timeout=_PATIENCE) as answer:
                    return parse_object(answer.read())
            except (urllib.error.URLError, OSError, ValueError) as error:
                why = str(error)
        if monotonic() > end:
            where = found.url or f"process {found.pid}"
            raise EsperError("E642", "the supervisor does not answer", where=where, why=why, fix="esper down")
        pause.wait(0.05)
    return None


def stop_supervisor(state: Path) -> str:
    """End the supervisor of a state directory with all services, and what a dead one has left. Return what was done.

    It gets its time to drain, and is killed where that is not enough.
    """
    folder = folder_path(state)
    found = _read(folder)
    if found is None:
        return "nothing is running"
    killed, pause = False, threading.Event()
    if lived := found.lives():
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        end = monotonic() + found.drain_seconds + _PATIENCE
        while found.lives():
            if monotonic() > end and not killed:
                killed = True
                with suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)
            pause.wait(0.05)
    left = end_left_behind(found.mark, noted_leaders(state))
    (folder / _RECORD).unlink(missing_ok=True)
    if lived and not killed:
        return "all services have ended"
    how = "did not end, and was killed" if killed else "was dead already"
    return f"the supervisor {how}; {left} processes that it had left were killed"


def ask_again(state: Path, service: str) -> None:
    """Ask the supervisor to start a service again that has failed, or whose dependents are paused.

    Raises:
        EsperError: E642 if no supervisor lives, E204 if it has no such service.
    """
    from esper_core.leyline.errors import did_you_mean

    status = supervisor_status(state)
    if status is None:
        raise EsperError("E642", "no services are supervised", where=str(state), fix="begin with: esper up")
    names = [it["name"] for it in status["services"]]
    if service not in names:
        raise EsperError("E204", f'there is no service "{service}"', fix=did_you_mean(service, names))
    write_atomically(folder_of(state) / _AGAIN / service, b"")


def asked_again(folder: Path) -> list[str]:
    """Return the services that were asked for with `ask_again`, once each. Raises EsperError E612."""
    with usable(folder):
        found = [it for it in (folder / _AGAIN).iterdir() if not it.name.startswith(".")]
        for it in found:
            it.unlink(missing_ok=True)
    return [it.name for it in found]


def last_log_lines(state: Path, count: int, service: str | None = None) -> list[Mapping[str, Any]]:
    """Return the newest entries of the log, of all services or of one, oldest first."""
    return [*deque(_log_entries(state, service), maxlen=count)]


def logged_services(state: Path) -> list[str]:
    """Return the services that the log has something of, in alphabetical order."""
    return sorted({str(it.get("service")) for it in _log_entries(state, None)})


def _log_entries(state: Path, service: str | None) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of the log and of its predecessors, oldest first; the newest of those has the lowest number."""
    for name in [*(f"{LOG}.{number}" for number in range(KEPT, 0, -1)), LOG]:
        with suppress(FileNotFoundError), (folder_path(state) / name).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    entry = parse_object(line)
                    if service is None or entry.get("service") == service:
                        yield entry
