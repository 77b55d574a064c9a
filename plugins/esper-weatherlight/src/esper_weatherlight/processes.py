"""A service's process with all that it starts: one group, whose end is seen, and which is killed as a whole."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic

import psutil

from esper_core.leyline.errors import EsperError
from esper_weatherlight.service import Launch

#: In the environment of all that a supervisor starts, so that what it leaves behind is known as its own.
MARK = "ESPER_WEATHERLIGHT"

#: Seconds after which what was killed must be gone.
_GONE = 10.0


class ProcessGroup:
    """A process in a session of its own, and what it has started.

    Args:
        launch: what to start.
        environment: beside that of this process.
        hear: is called with each line that the processes print, in a thread of its own.

    Attributes:
        leader: the number of the process, and of its group.

    Raises:
        EsperError: E642 if it cannot be started.
    """

    def __init__(self, launch: Launch, environment: Mapping[str, str], hear: Callable[[str], None]) -> None:
        try:
            self._process = subprocess.Popen(
                [*launch.command],
                cwd=launch.folder,
                env={**os.environ, **launch.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            what = f'"{launch.command[0]}" cannot be started' if launch.command else "there is no command"
            raise EsperError("E642", what, why=getattr(error, "strerror", None) or str(error)) from error
        self.leader = self._process.pid
        self._code: int | None = None
        self._reader = threading.Thread(target=self._read, args=[hear], name=f"log-{self.leader}", daemon=True)
        self._reader.start()

    def code(self) -> int | None:
        """Return how the leader has ended; None while it runs. Once it has ended, its whole group is killed."""
        if self._code is None:
            # It is not reaped before its group is killed, so that the number of the group is nobody else's.
            if os.waitid(os.P_PID, self.leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self.kill()
        return self._code

    def kill(self) -> None:
        """Kill the group, and wait for the leader's end; a second call does nothing."""
        if self._code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, signal.SIGKILL)
            self._code = self._process.wait()
            # What else has its output open, in a group of its own, is not waited for.
            self._reader.join(1.0)

    def _read(self, hear: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError), self._process.stdout as output:
            for line in output:
                hear(line.decode(errors="replace").rstrip("\r\n"))


def left_behind(mark: str, leaders: Sequence[psutil.Process] = ()) -> Iterator[psutil.Process]:
    """Yield the processes with this mark in their environment, whatever their parents and groups are by now.

    One that has ended, and that nobody has reaped, is none.

    Args:
        mark: of a supervisor.
        leaders: processes that it has started, which may have written over their environment, as Redis does.
    """
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _is_own(process, mark, leaders):
            yield process


def _is_own(process: psutil.Process, mark: str, leaders: Sequence[psutil.Process]) -> bool:
    # It may end between two questions. Processes are equal if they have the same number and the same beginning.
    with suppress(psutil.Error, OSError):
        known = process in leaders or process.environ().get(MARK) == mark
        return bool(known and process.status() != psutil.STATUS_ZOMBIE)
    return False


def end_left_behind(mark: str, leaders: Sequence[psutil.Process] = ()) -> int:
    """Kill what a supervisor has left behind, and return how many processes that were; as `left_behind`."""
    found: set[int] = set()
    end = monotonic() + _GONE
    # Once more, as long as some are found: one may have started another meanwhile.
    while processes := [*left_behind(mark, leaders)]:
        if monotonic() > end:
            raise EsperError("E642", "processes of an earlier supervisor do not end", why=f"process {processes[0].pid}")
        for it in processes:
            with suppress(psutil.NoSuchProcess):
                it.kill()
                found.add(it.pid)
        psutil.wait_procs(processes, timeout=1.0)
    return len(found)
