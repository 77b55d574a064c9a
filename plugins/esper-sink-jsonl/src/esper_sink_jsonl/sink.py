"""Write events as JSON lines. The file contains only complete lines, even after errors.

A configuration, which may come from somebody else, can name the file. So nothing is ever cut from a file outside of the
run's own directory, and a file that is no log of events is not written to.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from esper_core.api import EsperError, Event, to_json
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.log_file import is_event_log, open_log, own_tail


class JsonlSink:
    """A sink that appends one strict JSON object per event to a file.

    A batch is written with one unbuffered call, so events are visible to readers at once. If a batch cannot be written
    completely, none of it remains in the file.

    Args:
        config: where and how to write.
    """

    def __init__(self, config: JsonlConfig) -> None:
        self._config = config
        self._file: FileIO | None = None

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Open the file for appending, and create its folder if it is missing.

        Raises:
            EsperError: E504 if there is nowhere to write, the file cannot be written, or it is no log of events.
        """
        path = self._path(manifest)
        inside = self._inside(path, manifest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_log(path, inside=inside)
            if not is_event_log(self._file):
                raise OSError("it holds something else than events, to which none are appended")
            if inside is not None and manifest.get("resumed_at") is not None:
                self._forget_from(manifest["resumed_at"], str(manifest.get("name")))
            self._end_torn_line()
        except OSError as error:
            self.close()
            what = f'the sink "jsonl" cannot write "{path}"'
            why = error.strerror or str(error)
            raise EsperError("E504", what, why=why, fix="set sinks.jsonl.path to a new file") from error

    def emit(self, events: Sequence[Event]) -> None:
        """Append all of the events, or none.

        Raises:
            RuntimeError: before `open` and after `close`.
            OSError: if the disk is full or the file is gone.
            TypeError: if an event cannot be converted to plain data.
        """
        lines = "".join(f"{to_json(event)}\n" for event in events)
        # A lone surrogate cannot be encoded in UTF-8, but its escape is valid JSON.
        self._append(lines.encode("utf-8", errors="backslashreplace"))

    def flush(self) -> None:
        """Make events durable, with `fsync`; they are already visible."""
        if self._config.fsync:
            os.fsync(self._opened().fileno())

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                if self._config.fsync:
                    os.fsync(file.fileno())

    def _path(self, manifest: Mapping[str, Any]) -> Path:
        if self._config.path is not None:
            return Path(self._config.path).expanduser().absolute()
        if manifest.get("directory") is None:
            what = 'the sink "jsonl" has nowhere to write'
            raise EsperError("E504", what, why="the run has no directory", fix="set sinks.jsonl.path")
        return Path(manifest["directory"]).absolute() / "events.jsonl"

    def _inside(self, path: Path, manifest: Mapping[str, Any]) -> Path | None:
        """The run's directory, where the file is in it."""
        if manifest.get("directory") is None:
            return None
        directory = Path(manifest["directory"]).absolute()
        return directory if path.is_relative_to(directory) and ".." not in path.parts else None

    def _opened(self) -> FileIO:
        if self._file is None:
            raise RuntimeError('the sink "jsonl" is not open')
        return self._file

    def _end_torn_line(self) -> None:
        """End an incomplete last line that a crash may have left, so new events start on a new line."""
        file = self._opened()
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                self._append(b"\n")

    def _forget_from(self, number: int, run: str) -> None:
        """Remove the events that a resumed run will repeat, and an incomplete line at the end, if they are its own.

        Otherwise everything stays: who reads the log lets events with earlier numbers take back what came before.
        """
        file = self._opened()
        if (kept := own_tail(file, number, run)) is not None:
            file.truncate(kept)

    def _append(self, data: bytes) -> None:
        file = self._opened()
        start = file.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with suppress(OSError):
                # What was written of the batch, and no more: somebody else may have appended meanwhile.
                if file.seek(0, os.SEEK_END) == start + len(data) - len(rest):
                    file.truncate(start)
            raise
