"""Write events as JSON lines.

A configuration, which may come from somebody else, can name the file. So nothing is ever cut from a file outside of the
run's own directory, and a file that is no log of events is not written to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esper_core.api import EsperError, Event
from esper_runs.log_file import own_directory
from esper_runs.log_writer import LogWriter
from esper_sink_jsonl.config import JsonlConfig


class JsonlSink:
    """A sink that appends one strict JSON object per event to a file.

    Args:
        config: where and how to write.
    """

    reads_only = True

    def __init__(self, config: JsonlConfig) -> None:
        self._config = config
        self._log: LogWriter | None = None

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Open the file for appending, and create its folder if it is missing.

        Raises:
            EsperError: E504 if there is nowhere to write, the file cannot be written, or it is no log of events.
        """
        path = self._path(manifest)
        inside = own_directory(path, manifest.get("directory"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = LogWriter(path, inside=inside)
            if inside is not None and manifest.get("resumed_at") is not None:
                self._log.forget_from(manifest["resumed_at"], str(manifest.get("name")))
            self._log.end_torn_line()
        except OSError as error:
            self._release()
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
        self._opened().write(events)

    def flush(self) -> None:
        """Make events durable, with `fsync`; they are already visible."""
        if self._config.fsync:
            self._opened().sync()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        try:
            if self._log is not None and self._config.fsync:
                self._log.sync()
        finally:
            self._release()

    def _path(self, manifest: Mapping[str, Any]) -> Path:
        if self._config.path is not None:
            return Path(self._config.path).expanduser().absolute()
        if manifest.get("directory") is None:
            what = 'the sink "jsonl" has nowhere to write'
            raise EsperError("E504", what, why="the run has no directory", fix="set sinks.jsonl.path")
        return Path(manifest["directory"]).absolute() / "events.jsonl"

    def _opened(self) -> LogWriter:
        if self._log is None:
            raise RuntimeError('the sink "jsonl" is not open')
        return self._log

    def _release(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()
