"""A process of its own for what may hang or crash, killed with all that it started."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

_POLL_SECONDS = 0.02

#: Seconds beyond its time after which a process whose parent is gone is ended by the kernel.
_GRACE_SECONDS = 10


@frozen(kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        code: as `subprocess.Popen.returncode`: negative for a signal.
        timed_out: its time was over, and it was killed.
        errors: the last line of its standard error.
    """

    code: int
    timed_out: bool
    errors: str

    @property
    def why(self) -> str:
        """Why nothing came of it, in words."""
        how = f"was killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with {self.code}"
        return ": ".join(it for it in (f"its process {how}", self.errors) if it)


def run_in_group(
    command: Sequence[str], folder: Path, timeout: float, *, beat: Callable[[], None] = lambda: None
) -> Ended:
    """Run a command in a session of its own until it ends or its time is over, and kill what is left of its group.

    Its standard input stays open as long as this process lives: see `serve`. What it makes for a time lies in the
    folder, so that it goes with it: who is killed removes nothing.

    Args:
        command: the command line.
        folder: where its standard error is kept, and its temporary files are.
        timeout: seconds after which it is killed, with everything that it has started.
        beat: called while it runs, a few times a second; what it raises ends the process too.
    """
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    deadline, timed_out = time.monotonic() + timeout, False
    try:
        # It is not reaped before its group is killed, so that the number of the group is nobody else's.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                timed_out = True
                break
            beat()
            threading.Event().wait(_POLL_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        assert process.stdin is not None
        process.stdin.close()
    last = errors.read_text(errors="replace").strip().splitlines()[-1:]
    return Ended(code=code, timed_out=timed_out, errors="".join(last)[:500])


def serve(timeout: float, folder: Path) -> None:
    """Tie this process to the one that runs it with `run_in_group`: when that is gone, so is this one and its group.

    A thread waits for the end of standard input. Code that never lets a thread run is ended by the kernel's clock.

    Args:
        timeout: seconds that it was given.
        folder: as for `run_in_group`; it is removed when that process is gone, which cannot remove it any more.
    """
    if os.getpgrp() != os.getpid():
        raise RuntimeError("it has no process group of its own, and would kill another one")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout + _GRACE_SECONDS)
    threading.Thread(target=_end_with_input, args=(folder,), daemon=True).start()


def _end_with_input(folder: Path) -> None:
    # Not `sys.stdin`, whose lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)
