"""The process that all others are forked from: torch is loaded in it, and it has no thread but its own.

Esper has one of its own because that of `multiprocessing` imports the main module again, and leaves workers behind when
the process that began it is killed.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

#: ``PR_SET_PDEATHSIG`` of prctl(2): the signal that a process gets when its parent is gone.
_PARENT_DEATH_SIGNAL = 1


def main(descriptor: int) -> None:
    """Fork a process for every connection that is handed over, until the other side is gone."""
    # Ctrl-C reaches every process of a terminal; what becomes of the run is for its own process to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = Connection(descriptor)
    # Forked processes end by themselves, and nobody asks how.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    import torch

    # An optimizer brings half of torch with it.
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    from esper_executor_processes.preloaded import serve_forks

    while (handed := receive_descriptor(control)) is not None:
        fork(serve_forks, handed, closing=(control,))
    # All that is left is to take torch down, which takes longer than everything else here.
    os._exit(0)


def fork(work: Callable[[Connection], None], descriptor: int, closing: tuple[Connection, ...]) -> int:
    """Fork a process that works on a connection; return its id. It ends with this process, whatever it is at."""
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _work(work, descriptor, parent, closing)
    os.close(descriptor)
    return pid


def send_descriptor(connection: Connection, descriptor: int) -> None:
    """Hand a descriptor over. Raises OSError if the other side is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        socket.send_fds(channel, [b"d"], [descriptor])


def receive_descriptor(connection: Connection) -> int | None:
    """Return a descriptor that is handed over; None if the other side is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    return descriptors[0] if descriptors else None


def _work(
    work: Callable[[Connection], None], descriptor: int, parent: int, closing: tuple[Connection, ...]
) -> NoReturn:
    status = 1
    try:
        for connection in closing:
            connection.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _end_with(parent)
        work(Connection(descriptor))
        status = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0  # the other side is gone
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: what the forkserver would do at its exit is not for this process to do.
        os._exit(status)


def _end_with(parent: int) -> None:
    """End this process when its parent ends, where the system offers that; elsewhere its connection tells it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
