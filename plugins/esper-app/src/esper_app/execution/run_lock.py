"""One process at a time writes into a run's directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from esper_core.leyline.errors import EsperError
from esper_runs.reading import NotAFileError, refuse_links, refuse_other_kinds, why_unreadable
from esper_runs.run_directory import RunDirectory

#: The file that is locked; its content says by which process. It stays: removing it would let two processes in.
LOCK = ".lock"


@contextmanager
def exclusive(directory: RunDirectory) -> Iterator[None]:
    """Hold a run's directory; the operating system lets go of it when the process ends, however that happens.

    Raises:
        EsperError: E514 if another process, or this one, is at it already; E508 if its lock is a link to something
            else.
    """
    path = directory.path / LOCK
    _refuse_a_link(directory, path)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise EsperError(
            "E514",
            f'run "{directory.name}" is in use',
            where=str(path),
            why=_holder(directory),
            fix="wait until it is over, or end that process",
        ) from error
    try:
        with suppress(OSError):  # for people to read; the lock holds without it
            path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        directory.remove_leftovers()
        yield
    finally:
        lock.release()


def _refuse_a_link(directory: RunDirectory, path: Path) -> None:
    """Locking opens the file and empties it: it must be one of the directory's own. Raises EsperError E508."""
    if not os.path.lexists(path):
        return
    try:
        refuse_links(directory.path, path)
        refuse_other_kinds(path, path.stat().st_mode)
        if path.stat().st_nlink > 1:
            raise NotAFileError(path, "it is the same file as one elsewhere (a hard link)")
    except OSError as error:
        raise directory.damaged(LOCK, why_unreadable(error)) from error


def _holder(directory: RunDirectory) -> str:
    try:
        return f"process {int((directory.path / LOCK).read_text(encoding='utf-8'))} is writing into it"
    except (OSError, ValueError):
        return "another process is writing into it"
