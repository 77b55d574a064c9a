"""The log of all services: each line says who spoke, in a file as JSON, and for people."""

import json
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

#: The name under which the supervisor itself speaks.
OURS = "weatherlight"

FILE = "log.jsonl"

#: So many predecessors of the file are kept: ``log.jsonl.1`` is the newest of them.
KEPT = 3

_BYTES = 10_000_000


class ServiceLog:
    """Writes what services print, and what becomes of them.

    A line that cannot be written, as on a full disk, is only shown; that lines are lost is shown once.

    Args:
        folder: holds the file ``log.jsonl``; of it and its predecessors at most 40 MB are kept.
        show: is given each line for people; None: nobody looks.
    """

    def __init__(self, folder: Path, show: Callable[[str], None] | None = None) -> None:
        self._handler = _Handler(folder / FILE, maxBytes=_BYTES, backupCount=KEPT, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._show = show
        self._lock = threading.Lock()
        self._told = False

    def said(self, service: str, line: str, **more: Any) -> None:
        """Write a line that a service has printed."""
        self._write("output", service, line, more)

    def happened(self, service: str, what: str, **more: Any) -> None:
        """Write what became of a service; ``weatherlight`` is the supervisor."""
        self._write("event", service, what, more)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written until now is lost, and that was shown
            self._handler.close()

    def _write(self, kind: str, service: str, text: str, more: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        entry = {"time": now.isoformat(timespec="milliseconds"), "service": service, "kind": kind, "text": text, **more}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        with self._lock:
            self._handler.emit(logging.makeLogRecord({"msg": line}))
            if self._show is not None:
                at = f"{now.astimezone():%H:%M:%S}"
                self._show(f"{at} {service} {'|' if kind == 'output' else '*'} {text}")
                if self._handler.error is not None and not self._told:
                    self._show(f"{at} {OURS} * the log cannot be written: {self._handler.error}")
                    self._told = True


class _Handler(RotatingFileHandler):
    """Keeps why a line could not be written; logging would print it with a traceback, for each line."""

    error: BaseException | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.error = sys.exc_info()[1]
