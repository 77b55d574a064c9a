"""Files that anybody may have written: what is read is a regular file of bounded size, what is parsed is bounded too.

A run directory may come from somebody else. Its files are data: none is code, no link in it is followed, and no pipe or
device is waited for.
"""

import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from esper_core.leyline.errors import EsperError

#: The largest file that is read into memory to be parsed, in bytes: a log of a million events has 1 GB.
LARGEST = 1 << 32

#: How deep objects and lists may lie in each other, and how large an integer may be. What Esper writes is far below.
DEEPEST, LARGEST_INTEGER = 100, 1 << 64

_KINDS = (
    (stat.S_ISLNK, "a symbolic link, and links are not followed here"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


class NotAFileError(OSError):
    """Something else than a regular file stands where a file should."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(0, why, str(path))


def read_regular(path: Path, *, inside: Path | None = None, largest: int = LARGEST) -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        inside: a directory that it is in; nothing between the two, nor the file, may be a link. None: links may lead
            to it.
        largest: it may have this many bytes.

    Raises:
        NotAFileError: if it is something else, or larger.
        OSError: if there is none, or it cannot be read.
    """
    with open_regular(path, inside=inside) as file:
        if (size := os.fstat(file.fileno()).st_size) > largest:
            raise NotAFileError(path, f"it has {size:,} bytes, at most {largest:,} are read")
        try:
            return file.read()
        except MemoryError:
            raise NotAFileError(path, f"it has {size:,} bytes, more than there is memory for") from None


def open_regular(path: Path, *, inside: Path | None = None) -> BinaryIO:
    """Open a regular file for reading; `inside` is as for `read_regular`.

    Raises:
        NotAFileError: if it is something else.
        OSError: if there is none, or it cannot be read.
    """
    if inside is not None:
        refuse_links(inside, path)
    # A pipe without a writer would be waited for, were it not for O_NONBLOCK, which changes nothing about a file.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    refuse_other_kinds(path, os.stat(path).st_mode)
    descriptor = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if inside is not None else 0))
    file = os.fdopen(descriptor, "rb")
    try:
        refuse_other_kinds(path, os.fstat(descriptor).st_mode)
    except OSError:
        file.close()
        raise
    return file


def refuse_links(inside: Path, path: Path) -> None:
    """Check that a path leads to a place below a directory without a link or ``..``.

    Raises:
        NotAFileError: if it does not.
        OSError: if there is nothing at the path.
    """
    place = inside
    if not path.is_relative_to(inside) or ".." in (parts := path.relative_to(inside).parts):
        raise NotAFileError(path, f"it is outside of {inside}")
    for part in parts:
        place /= part
        if stat.S_ISLNK(place.lstat().st_mode):
            refuse_other_kinds(place, place.lstat().st_mode)


def refuse_other_kinds(path: Path, mode: int) -> None:
    """Check that a file is a regular one, by the mode that `os.stat` gave. Raises NotAFileError."""
    if not stat.S_ISREG(mode):
        kind = next((title for test, title in _KINDS if test(mode)), "no regular file")
        raise NotAFileError(path, f"it is {kind}")


def is_own_folder(path: Path) -> bool:
    """Say whether there is a directory at the path, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def parse_json(data: bytes | str) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: if it is no JSON, or lies deeper or holds larger integers than anything that Esper writes.
    """
    text = data if isinstance(data, str) else data.decode(json.detect_encoding(data), "surrogatepass")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    if text.count("[") + text.count("{") > DEEPEST:
        refuse_oversized(value)
    return value


def refuse_oversized(value: Any) -> None:
    """Check plain data for depth and large integers. Raises ValueError."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:  # most are
                continue
            if kind is dict:
                deeper += item.values()
            elif kind is list:
                deeper += item
            elif kind is int:
                _bounded(item)
        level, depth = deeper, depth + 1


def _bounded(number: int) -> int:
    if abs(number) >= LARGEST_INTEGER:
        raise ValueError(f"it holds an integer of {number.bit_length()} bits")
    return number


_BLANKS = re.compile(r"[ \t\n\r]+")

_DECODER = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 19 else _bounded(int(digits)))


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Return what JSON says, which is an object. Raises ValueError as `parse_json`, and if it is something else."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def parse_members(text: str, names: Collection[str]) -> dict[str, Any]:
    """Return these members of the object that JSON says, and read no further than to the last of them.

    Of a large file that is much quicker than `parse_object`. What comes behind is not looked at, but that it ends as an
    object does; nor is it looked at how deep the members are.

    Raises:
        ValueError: if it is no JSON, as far as it is read.
    """
    found: dict[str, Any] = {}
    at = _past(text, 0, "{")
    if not text.rstrip().endswith("}"):
        raise ValueError("it does not end as an object does")
    while len(found) < len(names):
        if text[at : at + 1] == "}":
            break
        try:
            name, at = _DECODER.raw_decode(text, at)
            value, at = _DECODER.raw_decode(text, _past(text, at, ":"))
        except RecursionError:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
        if name in names:
            found[name] = value
        at = _past(text, at, ",}")
    return found


def _past(text: str, at: int, signs: str) -> int:
    """Where the next thing begins behind one of these signs; an object's end is nowhere."""
    at = _blanks_end(text, at)
    if (sign := text[at : at + 1]) not in signs or not sign:
        raise ValueError(f"it has no {' or '.join(signs)} at {at}")
    return at if sign == "}" else _blanks_end(text, at + 1)


def _blanks_end(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def why_unreadable(error: Exception) -> str:
    """Return in words why a file could not be read or understood, without its path."""
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEEPEST} levels"
    text = (error.strerror if isinstance(error, OSError) else str(error)) or ""
    return f"{type(error).__name__}: {text}" if isinstance(error, KeyError) else text or type(error).__name__


@contextmanager
def reading(what: str, path: Path, *, code: str = "E508", fix: str | None = None) -> Iterator[None]:
    """Turn what files of the wrong shape lead to, wherever they are looked at, into an error with a code.

    Files are checked as far as they are understood in one place; beyond that the code that uses a value finds it
    missing, of another type, or out of its range. None of that is a fault of the code, as long as the files are not
    Esper's own.

    Raises:
        EsperError: of this code.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        why = why_unreadable(error)
        raise EsperError(code, f"{what} cannot be understood", where=str(path), why=why, fix=fix) from error
