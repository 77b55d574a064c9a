"""What there is to show: which runs, and each of them as JSON. Files are read again only when they have changed."""

import gc
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from attrs import frozen

from esper_app_dashboard.run_view import damaged_view, run_view
from esper_core.api import EsperError
from esper_runs.formatting import whole
from esper_runs.log_follower import LogFollower
from esper_runs.printing import printable
from esper_runs.reading import is_own_folder, reading
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, RunDirectory
from esper_runs.run_figures import figures_in_words, means_in_words
from esper_runs.run_list import RunSummary, last_of, run_paths, summary
from esper_runs.run_record import read_run_record

#: So many runs are kept as JSON, and of so many that go on the events are kept, of those that were asked for last.
_MOST_VIEWS, _MOST_FOLLOWED = 32, 8

#: A run is read again when this many times as long has passed as it took to read: training shares the machine.
_REST = 4


@frozen
class Version:
    """The state of what is shown; a text that changes when it does.

    Attributes:
        runs: of the list of runs.
        run: of each run that was asked for; none of a run that there is not.
    """

    runs: str
    run: dict[str, str]


@frozen
class _View:
    version: str
    body: bytes
    until: float


class Board:
    """The runs that are shown. It is used by one thread at a time.

    A run is known by a digest of its path. So what a browser asks for is looked up in a table, and is never a path.

    Args:
        runs: the directory that holds the runs; links in it are not followed.
        named: show these runs instead of all of them.
        clock: gives seconds.
    """

    def __init__(self, runs: Path, named: Sequence[RunDirectory] = (), clock: Callable[[], float] = monotonic) -> None:
        self._runs = runs.absolute()
        self._named = [directory.path.absolute() for directory in named]
        self._clock = clock
        self._problem = ""
        self._paths: dict[str, Path] = {}
        self._summaries: dict[Path, tuple[str, RunSummary]] = {}
        self._followers: OrderedDict[str, LogFollower] = OrderedDict()
        self._views: OrderedDict[str, _View] = OrderedDict()

    def version(self, wanted: Sequence[str] = ()) -> Version:
        """Look at the files again, and return the version of the list and of these runs."""
        found = self._refresh()
        state = repr([(path.name, stamp, it.last) for path, (stamp, it) in found.items()])
        return Version(_digest(state), {it: _stamp(self._paths[it]) for it in wanted if it in self._paths})

    def runs(self) -> bytes:
        """Return the list of runs as JSON, the newest first; runs that were named stay in their order."""
        found = [it for _, it in self._refresh().values()]
        if not self._named:
            found.sort(key=lambda run: (run.started or run.written, run.name), reverse=True)
        where = "" if self._named else printable(str(self._runs))
        return _json({"where": where, "problem": printable(self._problem), "runs": [_row(it) for it in found]})

    def view(self, run: str) -> tuple[str, bytes] | None:
        """Return a run's version and everything about it as JSON; None if there is no such run.

        A long run takes seconds to read, and more is written meanwhile: then this is an earlier version for a while.
        A run whose files are damaged is described by what is wrong with them.
        """
        if run not in self._paths:
            self._refresh()
        path = self._paths.get(run)
        if path is None or not (is_own_folder(path) or path in self._named):
            return None
        # Taken before reading: what is written meanwhile makes another version.
        stamp, begun = _stamp(path), self._clock()
        known = self._views.get(run)
        if known is None or (known.version != stamp and begun >= known.until):
            with _no_collection():
                body = self._read({"id": run, "version": stamp}, RunDirectory(path))
            known = _View(stamp, body, until=self._clock() + _REST * (self._clock() - begun))
        _remember(self._views, run, known, _MOST_VIEWS)
        return known.version, known.body

    def _read(self, head: dict[str, str], directory: RunDirectory) -> bytes:
        run = head["id"]
        follower = self._followers.pop(run, None) or LogFollower()
        try:
            record = read_run_record(directory, follower.read)
            with reading(f'run "{directory.name}"', directory.path):
                found = _json({**head, **run_view(record)})
        except EsperError as error:
            return _json({**head, **damaged_view(directory.name, error)})
        # The events of a run that is over would be kept for nothing.
        if record.result is None:
            _remember(self._followers, run, follower, _MOST_FOLLOWED)
        return found

    def _refresh(self) -> dict[Path, tuple[str, RunSummary]]:
        """Sum up the runs whose files have changed."""
        self._problem = ""
        try:
            paths = self._named or [*run_paths(self._runs)]
            last = None if self._named else last_of(self._runs)
        except OSError as error:
            paths, last = [], None
            self._problem = f"{self._runs} cannot be read: {error.strerror}"
        found: dict[Path, tuple[str, RunSummary]] = {}
        for path in paths:
            stamp, known = _stamp(path), self._summaries.get(path)
            same = known is not None and known[0] == stamp and known[1].last == (path.name == last)
            found[path] = known if known and same else (stamp, summary(path, last=path.name == last))
        self._summaries = found
        self._paths = {_digest(str(path)): path for path in found}
        return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """A log is a million objects without a cycle: looking for cycles among them takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _row(run: RunSummary) -> dict[str, Any]:
    grown, twin, difference = figures_in_words(run)
    shown = {
        "name": run.name,
        "task": run.task or "",
        "policy": run.policy or "",
        "outcome": run.outcome,
        "epochs": f"{whole(run.epochs)}/{whole(run.planned_epochs)}",
        "grown": grown,
        "twin": twin,
        "difference": difference,
        "means": means_in_words(run),
    }
    return {"id": _digest(run.directory), "last": run.last, **{key: printable(it) for key, it in shown.items()}}


def _stamp(path: Path) -> str:
    parts = []
    for name in (MANIFEST, EVENTS, RESULT):
        try:
            it = os.lstat(path / name)
            parts.append((it.st_ino, it.st_size, it.st_mtime_ns))
        except OSError:
            parts.append((0, 0, 0))
    return _digest(repr(parts))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _remember(table: OrderedDict[str, Any], key: str, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
