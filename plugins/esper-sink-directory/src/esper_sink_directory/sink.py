"""Write a run's events, manifest and result to a folder of its own, outside of the run's directory.

The run's directory remembers which folder it is, so that a resumed run goes on in it. What it remembers may come from
somebody else: it is a name in a fixed form, of a folder directly in the base, and nothing is cut there but the run's
own events.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from esper_core.api import EsperError, Event, EventKind, to_json
from esper_runs.log_writer import LogWriter
from esper_runs.reading import is_own_folder, read_regular
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, write_atomically
from esper_sink_directory.config import DirectoryConfig

#: In the run's directory, the name of its folder.
POINTER = "telemetry-folder.txt"

_NAME = re.compile(r"telemetry_\d{4}-\d{2}-\d{2}_\d{6}(-\d{1,9})?")


class DirectorySink:
    """A sink that gives each run a folder with the time of its beginning, in UTC, in the name.

    Args:
        config: where and how to write.
    """

    reads_only = True

    def __init__(self, config: DirectoryConfig) -> None:
        self._config = config
        self._log: LogWriter | None = None
        self._folder = Path()

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Make a folder, or go on in that of a resumed run, and write the manifest there.

        Raises:
            EsperError: E504 if there is nowhere to write, or it cannot be written.
        """
        base = self._base(manifest)
        directory = None if manifest.get("directory") is None else Path(manifest["directory"]).absolute()
        resumed_at = manifest.get("resumed_at")
        try:
            base.mkdir(parents=True, exist_ok=True)
            known = None if directory is None or resumed_at is None else _remembered(base, directory)
            self._folder = known or _new_folder(base, _began(manifest))
            self._write(MANIFEST, manifest)
            self._log = LogWriter(self._folder / EVENTS, inside=self._folder)
            if resumed_at is not None:
                self._log.forget_from(resumed_at, str(manifest.get("name")))
            self._log.end_torn_line()
            if directory is not None and known is None:
                write_atomically(directory / POINTER, f"{self._folder.name}\n".encode())
        except OSError as error:
            self._release()
            what = f'the sink "directory" cannot write in "{base}"'
            why = error.strerror or str(error)
            raise EsperError("E504", what, why=why, fix="set sinks.directory.base to another directory") from error

    def emit(self, events: Sequence[Event]) -> None:
        """Append all of the events, or none; with the last one write the result.

        Raises:
            RuntimeError: before `open` and after `close`.
            OSError: if the disk is full or the folder is gone.
            TypeError: if an event cannot be converted to plain data.
        """
        self._opened().write(events)
        for event in events:
            if event.kind is EventKind.RUN_FINISHED:
                self._write(RESULT, event.data)

    def flush(self) -> None:
        """Make events durable, with `fsync`; they are already visible."""
        if self._config.fsync:
            self._opened().sync()

    def close(self) -> None:
        """Close the log; a second call does nothing."""
        try:
            if self._log is not None and self._config.fsync:
                self._log.sync()
        finally:
            self._release()

    def _base(self, manifest: Mapping[str, Any]) -> Path:
        if self._config.base is not None:
            return Path(self._config.base).expanduser().absolute()
        if manifest.get("directory") is None:
            what = 'the sink "directory" has nowhere to write'
            raise EsperError("E504", what, why="the run has no directory", fix="set sinks.directory.base")
        return Path(manifest["directory"]).absolute().parent / "telemetry"

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        text = to_json(data, indent=2) + "\n"
        write_atomically(self._folder / name, text.encode("utf-8", "backslashreplace"))

    def _opened(self) -> LogWriter:
        if self._log is None:
            raise RuntimeError('the sink "directory" is not open')
        return self._log

    def _release(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()


def _began(manifest: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(manifest["started"])).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _new_folder(base: Path, began: datetime) -> Path:
    """Two runs that begin in one second do not share a folder: the second gets a number behind its name."""
    stem = f"telemetry_{began:%Y-%m-%d_%H%M%S}"
    for number in count(1):
        path = base / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("count has no end")


def _remembered(base: Path, directory: Path) -> Path | None:
    """The folder that a run has written to before, if it is still there."""
    try:
        name = read_regular(directory / POINTER, inside=directory, largest=256).decode().strip()
    except (OSError, ValueError):
        return None
    return base / name if _NAME.fullmatch(name) and is_own_folder(base / name) else None
