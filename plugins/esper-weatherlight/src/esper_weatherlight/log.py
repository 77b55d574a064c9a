"""The log of all services: each line says who spoke, in a file as JSON, and for people."""

import json
import logging
import threading
from collections.abc import Callable
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

    Args:
        folder: holds the file ``log.jsonl``; of it and its predecessors at most 40 MB are kept.
        show: is given each line for people; None: nobody looks.
    """

    def __init__(self, folder: Path, show: Callable[[str], None] | None = None) -> None:
        self._handler = RotatingFileHandler(folder / FILE, maxBytes=_BYTES, backupCount=KEPT, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._show = show
        self._lock = threading.Lock()

    def said(self, service: str, line: str, **more: Any) -> None:
        """Write a line that a service has printed."""
        self._write("output", service, line, more)

    def happened(self, service: str, what: str, **more: Any) -> None:
        """Write what became of a service; ``weatherlight`` is the supervisor."""
        self._write("event", service, what, more)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def _write(self, kind: str, service: str, text: str, more: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        entry = {"time": now.isoformat(timespec="milliseconds"), "service": service, "kind": kind, "text": text, **more}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        with self._lock:
            self._handler.emit(logging.makeLogRecord({"msg": line}))
            if self._show is not None:
                self._show(f"{now.astimezone():%H:%M:%S} {service} {'|' if kind == 'output' else '*'} {text}")
