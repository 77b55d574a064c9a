"""Wrong sinks, one for each check."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

from attrs import frozen

from esper_core.api import EsperError, Event, EventKind, to_json
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


class DiesOnForeignKinds(Right):
    def encode(self, event: Event) -> str:
        return to_json({"kind": EventKind(event.kind).name, "sequence": event.sequence, "data": event.data})


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


class LosesTheRest(Right):
    """Writes in `flush` alone."""

    def open(self, manifest: Any) -> None:
        super().open(manifest)
        self.held: list[Event] = []

    def emit(self, events: Sequence[Event]) -> None:
        if self.file is None:
            raise RuntimeError("not open")
        self.held += events

    def flush(self) -> None:
        super().emit(self.held)
        self.held = []
        super().flush()


class WaitsUntilFull(LosesTheRest):
    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        if len(self.held) >= 1000:
            self.flush()

    def close(self) -> None:
        if self.file is not None and len(self.held) > 1:
            self.flush()
        super().close()


class DropsData(Right):
    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        for event in events:
            event.data.pop("note", None)


class SortsFigures(Right):
    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        for event in events:
            event.data.get("figures", []).clear()


class ChangesAtClose(Right):
    """Works on what it has held on to."""

    def open(self, manifest: Any) -> None:
        super().open(manifest)
        self.seen = []

    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        self.seen += events[:3]

    def close(self) -> None:
        for event in self.seen if self.file is not None else ():
            event.data["closed"] = True
        super().close()


class ChangesManifest(Right):
    def open(self, manifest: Any) -> None:
        super().open(manifest)
        manifest["nested"]["names"].append("mine") if "nested" in manifest else None


class CountsWhatItTook(Right):
    """Draws from a global generator in some of its calls."""

    calls = 0

    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        self.calls += 1
        if self.calls % 90 == 0:
            random.random()


class WritesSet(Right):
    def emit(self, events: Sequence[Event]) -> None:
        if self.file is None:
            raise RuntimeError("not open")
        with self.lock:
            self.file.writelines({self.encode(event) + "\n" for event in events})


class HoldsEverything(Right):
    def open(self, manifest: Any) -> None:
        super().open(manifest)
        self.all: list[Event] = []

    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events)
        self.all += events


class KeepsTheFirstThousand(Right):
    taken = 0

    def emit(self, events: Sequence[Event]) -> None:
        super().emit(events if self.taken < 1000 else [])
        self.taken += len(events)


@frozen(kw_only=True)
class Options:
    """Of a sink that does not look at them."""

    keep: int = 10


class Optional(Right):
    def __init__(self, config: Options) -> None:
        super().__init__()


def subject(factory: Callable[..., Any], *capabilities: Capability) -> SinkSubject:
    return SinkSubject(spec=SinkSpec(name="mutant", summary="Wrong.", factory=factory, capabilities=capabilities))


RIGHT = [subject(Right, Capability.THREAD_SAFE)]

MUTANTS = {
    "sink-every-event": [
        (subject(DiesOnNan), "cannot convert float NaN to integer"),
        (subject(DiesOnSurrogates), "UnicodeEncodeError"),
        (subject(DiesOnForeignKinds), "forge.kept raised ValueError"),
    ],
    "sink-order": [
        (subject(LosesOrder), "0 are lost, 0 are there twice, and they are out of order"),
        (subject(KeepsTheLast), "are lost"),
        (subject(KeepsTheFirstThousand), "of 3000 events 1600 are lost"),
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
    "sink-close-keeps": [
        (subject(LosesTheRest), r"of 6 events in batches of 5, \(flush\), 1 5 are there after close"),
        (subject(WaitsUntilFull), "of 6 events in batches"),
    ],
    "sink-leaves-events": [
        (subject(DropsData), "it changed 32 of"),
        (subject(SortsFigures), "it changed"),
        (subject(ChangesAtClose), "it changed"),
        (subject(ChangesManifest), "it changed 1 of"),
    ],
    "sink-memory": [(subject(HoldsEverything), "of 4000 events that it was given and has flushed it still holds 4000")],
    "component-input-untouched": [(subject(DropsData), "that it was handed")],
    "component-many-calls": [(subject(CountsWhatItTook), "uses it changed random's global generator")],
    "component-processes": [(subject(WritesSet), r"in two processes \[\d+\] is")],
    "component-options-used": [
        (
            SinkSubject(spec=SinkSpec(name="mutant", summary="Wrong.", factory=Optional, config=Options)),
            "nobody reads the option keep",
        )
    ],
}
