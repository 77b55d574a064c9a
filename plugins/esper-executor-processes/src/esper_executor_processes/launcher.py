"""The forkserver of this process, begun when it is first needed; it serves all executors, and ends with it."""

import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection

from esper_core.api import EsperError
from esper_executor_processes.forkserver import send_descriptor

#: Libraries for linear algebra begin threads when they are imported, and a process with threads must not be forked.
#: How many torch has is set by the run.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

#: Seconds for it to end when it is told to.
_ENDING = 5.0

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from esper_executor_processes.forkserver import main; main(int(sys.argv[1]))"
)


class _Forkserver:
    """One forkserver."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        arguments = [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)]
        try:
            process = subprocess.Popen(
                arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment()
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.owner = os.getpid()
        self._control = Connection(ours.detach())
        self.end = weakref.finalize(self, _end, process, self._control)

    def process(self) -> Connection:
        """Fork a process, and return a connection to it. Raises OSError if the forkserver has ended."""
        ours, theirs = socket.socketpair()
        try:
            send_descriptor(self._control, theirs.fileno())
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return Connection(ours.detach())


def environment() -> dict[str, str]:
    """Return the environment of all processes: this one's, with one thread for each library."""
    return ONE_THREAD | dict(os.environ)


def forked_process() -> Connection:
    """Return a connection to a process that the forkserver has forked.

    Raises:
        EsperError: E541 if there is no forkserver and none can be begun.
    """
    with _LOCK:
        server = _THE_ONE.get("server")
        if server is not None and server.owner == os.getpid():
            try:
                return server.process()
            except OSError:
                server.end()
        try:
            _THE_ONE["server"] = _Forkserver()
            return _THE_ONE["server"].process()
        except OSError as error:
            raise cannot_begin(str(error)) from error


def cannot_begin(why: str) -> EsperError:
    """Return the error E541."""
    fix = "look at what they wrote to standard error, or run in this process: --executor serial"
    return EsperError("E541", "worker processes cannot be started", why=why, fix=fix)


def _end(process: "subprocess.Popen[bytes]", control: Connection) -> None:
    """Without its connection a forkserver ends, and all that were forked from it with it."""
    control.close()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_LOCK = threading.Lock()
_THE_ONE: dict[str, _Forkserver] = {}
