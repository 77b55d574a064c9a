"""Wrong sinks, one for each check."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

from esper_core.api import EsperError, Event, to_json
from esper_core.specs import Capability, SinkSpec
from esper_testing import SinkSubject


class Right:
    """A right sink: a file of JSON lines; each mutant spoils one thing."""

    file: Any = None

    def __init__(self, config: None = None) -> None:
        self.lock = Lock()

    def open(self, manifest: Any) -> None:
        if manifest["directory"] is None:
            raise EsperError("E504", "there is no place to write to")
        path = Path(manifest["directory"]) / "events.txt"
        kept = []
        if path.exists() and manifest.get("resumed_at") is not None:
            kept = [line for line in path.read_text().splitlines(True) if self.keeps(line, manifest["resumed_at"])]
        self.file = path.open("w", errors="backslashreplace")
        self.file.writelines(kept)

    def keeps(self, line: str, resumed_at: int) -> bool:
        return bool(json.loads(line)["sequence"] < resumed_at)

    def encode(self, event: Event) -> str:
        return to_json(event)

    def emit(self, events: Sequence[Event]) -> None:
        if self.file is None:
            raise RuntimeError("not open")
        with self.lock:
            self.file.writelines(self.encode(event) + "\n" for event in events)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class DiesOnNan(Right):
    def encode(self, event: Event) -> str:
        return json.dumps(json.loads(to_json(event)), allow_nan=False).replace('"NaN"', str(int(float("nan"))))


class DiesOnSurrogates(Right):
    def encode(self, event: Event) -> str:
        return to_json(event).encode("utf-8").decode()


class LosesOrder(Right):
    def emit(self, events: Sequence[Event]) -> None:
        super().emit(sorted(events, key=lambda event: str(event.sequence)))


class KeepsTheLast(Right):
    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events[-1:])


class FlushesNothing(Right):
    def flush(self) -> None:
        pass


class ClosesOnce(Right):
    def close(self) -> None:
        self.file.close()
        self.file = None


class OpensForEachEvent(Right):
    def emit(self, events: Sequence[Event]) -> None:
        if self.file is not None:
            super().emit(events)


class NeedsDirectory(Right):
    def open(self, manifest: Any) -> None:
        super().open(manifest | {"directory": Path(manifest["directory"])})


class Appends(Right):
    def keeps(self, line: str, resumed_at: int) -> bool:
        return True


class BeginsAnew(Right):
    def keeps(self, line: str, resumed_at: int) -> bool:
        return False


class SharesBuffer(Right):
    text = ""

    def emit(self, events: Sequence[Event]) -> None:
        before = self.text
        sleep(1e-3)
        self.text = before + "".join(self.encode(event) + "\n" for event in events)

    def close(self) -> None:
        if self.file is not None:
            self.file.write(self.text)
        super().close()


def subject(factory: Callable[..., Any], *capabilities: Capability) -> SinkSubject:
    return SinkSubject(spec=SinkSpec(name="mutant", summary="Wrong.", factory=factory, capabilities=capabilities))


RIGHT = [subject(Right, Capability.THREAD_SAFE)]

MUTANTS = {
    "sink-every-event": [
        (subject(DiesOnNan), "cannot convert float NaN to integer"),
        (subject(DiesOnSurrogates), "UnicodeEncodeError"),
    ],
    "sink-order": [
        (subject(LosesOrder), "0 are lost, 0 are there twice, and they are out of order"),
        (subject(KeepsTheLast), "are lost"),
    ],
    "sink-flush": [(subject(FlushesNothing), "after flush 0 of 5 events are to be seen, after close 5")],
    "sink-close-twice": [(subject(ClosesOnce), "AttributeError")],
    "sink-closed": [(subject(OpensForEachEvent), "an event after close was taken without a word")],
    "sink-no-directory": [(subject(NeedsDirectory), "without a directory `open` raised TypeError")],
    "sink-resumed": [
        (subject(Appends), r"it holds \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 6, 7, 8\]"),
        (subject(BeginsAnew), r"it holds \[6, 7, 8\]"),
    ],
    "sink-threads": [(subject(SharesBuffer, Capability.THREAD_SAFE), "of 1000 events from four threads")],
}
