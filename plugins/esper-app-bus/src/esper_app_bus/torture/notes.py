"""What the processes of a torture note down while they can, one line at a time, in a file of each process."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

#: `sent`: a publication was confirmed. `leased`, `handled`, `failed`, `returned` (for another attempt, or as a dead
#: letter), `acknowledged`: of a consumer. `killed`, `started`: of a process. `late`: of a timer.
What = Literal["sent", "leased", "handled", "failed", "returned", "acknowledged", "killed", "started", "late"]


@frozen(order=True)
class Note:
    """One line.

    Attributes:
        at: when, by the machine's monotonic clock, in seconds.
        who: the process that it is about.
        id: the message; "" where it is about a process.
        key, number: of the message; those of one key are numbered in the order of their publication.
        sort: ``plain``, ``poison`` (no attempt succeeds), ``future`` (issued by a clock that is far ahead).
        seconds: from publication to handling, or by which a timer was late.
        attempt: of a lease.
        wave: before the first kill: ``clean`` or ``poisoned`` (`Calm`).
    """

    at: float
    what: What
    who: str
    id: str = ""
    key: str = ""
    number: int = 0
    sort: str = "plain"
    seconds: float = 0.0
    attempt: int = 0
    wave: str = ""


class Notebook:
    """Appends to a file; a line that was written survives the death of its process."""

    def __init__(self, folder: Path, who: str) -> None:
        self._who = who
        self._file = os.open(folder / f"{who}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: What, ids: list[dict[str, Any]], *, who: str | None = None) -> None:
        """Write down that something has happened to these messages, or to a process, with one call of the system."""
        at, name = time.monotonic(), who or self._who
        lines = [json.dumps({"at": at, "what": what, "who": name, **it}) for it in ids]
        if lines:
            os.write(self._file, ("\n".join(lines) + "\n").encode())


def read_notes(folder: Path) -> list[Note]:
    """Return what all processes have noted, by time; a last line that was cut off is left out."""
    return sorted(note for path in folder.glob("*.notes") for note in _lines(path))


def _lines(path: Path) -> Iterator[Note]:
    for line in path.read_text().splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        yield Note(**fields)
