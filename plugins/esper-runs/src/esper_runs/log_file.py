"""The file of an event log: opened without touching anything else, and cut only where that is its own."""

import json
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Any

#: How a file may be called outside of a run's directory: no program takes such a file for its settings or for a script.
ENDINGS = (".jsonl", ".ndjson", ".json", ".log")

#: The first line of a log is looked at as far as this.
_LONGEST_LINE = 1 << 24

#: A log is read whole to be cut, up to this many bytes.
_LARGEST = 1 << 31

#: What every event begins with.
_BEGIN = b'{"kind": "'


def open_log(path: Path, *, inside: Path | None, endings: tuple[str, ...] = ENDINGS) -> FileIO:
    """Open a file for appending and reading; make it if it is missing.

    Args:
        path: the file.
        inside: the run's directory, if the file is in it: then no link may lead out of it.
        endings: how its name may end outside of it.

    Raises:
        OSError: if that is not possible, it is no regular file, or its name is none of a log.
    """
    if inside is None and path.suffix not in endings:
        raise OSError(f"outside of the run's directory its name must end in {', '.join(endings)}")
    place = inside or path
    for part in path.relative_to(inside).parts if inside else ():
        place /= part
        if place.is_symlink():
            raise OSError(f'"{place.name}" is a symbolic link, and leads out of the run\'s directory')
    # O_NONBLOCK: a named pipe is refused, not waited for; it changes nothing about a file.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if os.path.lexists(path):
        _refuse_another_kind(path.stat(), inside is not None)
    descriptor = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if inside else 0), 0o666)
    file = FileIO(descriptor, "a+")
    try:
        _refuse_another_kind(os.fstat(descriptor), inside is not None)
    except OSError:
        file.close()
        raise
    return file


def own_directory(path: Path, directory: str | None) -> Path | None:
    """Return a run's directory if a file is in it, None otherwise."""
    if directory is None:
        return None
    found = Path(directory).absolute()
    return found if path.is_relative_to(found) and ".." not in path.parts else None


def is_event_log(file: FileIO) -> bool:
    """Say whether a file holds events, or nothing; a first line that was cut off counts by its beginning."""
    file.seek(0)
    line = file.read(_LONGEST_LINE).partition(b"\n")
    if not line[1]:
        return line[0].startswith(_BEGIN[: len(line[0])])
    return _number(line[0]) is not None or line[0].startswith(_BEGIN)


def own_tail(file: FileIO, number: int, run: str) -> int | None:
    """Return where the events from a number on begin; None if what comes after that is not this run's alone.

    They are a run's own if their numbers go on one by one to the end, and none says that another run begins.

    Raises:
        OSError: if the file is too large to be looked at.
    """
    if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
        raise OSError(f"it has {size:,} bytes, and a log is continued up to {_LARGEST:,}")
    file.seek(0)
    *lines, rest = file.readall().split(b"\n")
    kept, expected = 0, 0
    tail: list[bytes] = []
    for line in lines:
        if not tail and (found := _number(line)) is not None and found < number:
            kept += len(line) + 1
            expected = found + 1
        else:
            tail.append(line)
    for line in tail:
        if _number(line) != expected or _begins_another(line, run):
            return None
        expected += 1
    return kept if not rest or rest.startswith(_BEGIN[: len(rest)]) else None


def _refuse_another_kind(found: os.stat_result, own: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if own and found.st_nlink > 1:
        raise OSError("it is the same file as one elsewhere (a hard link)")


def _event(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _number(line: bytes) -> int | None:
    event = _event(line)
    number = event.get("sequence") if isinstance(event, dict) and "kind" in event else None
    return number if isinstance(number, int) else None


def _begins_another(line: bytes, run: str) -> bool:
    event = _event(line)
    begins = event.get("kind") == "run_started" and isinstance(event.get("data"), dict)
    return bool(begins and event["data"].get("name") != run)
