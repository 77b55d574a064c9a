"""A sink as plugin API 1.0 has it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esper_core.api import EsperError, Event, to_json
from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "1.0"


class Log:
    def __init__(self, config: None) -> None:
        self.path: Path | None = None
        self.open_now = False

    def open(self, manifest: Mapping[str, Any]) -> None:
        if manifest["directory"] is None:
            raise EsperError("E504", "the sink v1 has no place to write to", fix="leave it out of sinks.names")
        self.path = Path(manifest["directory"]) / "v1.log"
        if (number := manifest.get("resumed_at")) is not None and self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            self.path.write_text("".join(line for line in lines if json.loads(line)["sequence"] < number))
        self.open_now = True

    def emit(self, events: Sequence[Event]) -> None:
        if not self.open_now:
            raise RuntimeError("the sink v1 is not open")
        lines = "".join(f"{to_json(event)}\n" for event in events)
        with self.path.open("ab") as file:
            file.write(lines.encode("utf-8", errors="backslashreplace"))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.open_now = False


@hookimpl
def esper_telemetry_sinks():
    yield SinkSpec(name="v1", summary="A line for each event.", factory=Log)
