"""One telemetry sink that is fed from a bus: it has each run as if it were the run's own."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from esper_core.api import Event, EventKind, Sink
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.telemetry import TelemetryBatch
from esper_runs.names import safe_name
from esper_service_nissa.ledger import Ledger
from esper_service_nissa.messages import MESSAGES, message_events, run_events, run_id

#: Runs whose sinks are open at once; the one that has been silent for longest is closed for another.
_OPEN = 20


class SinkFeed:
    """Shows one sink everything; used by one thread.

    What a sink raises is the message's failure: it comes again, with all that is behind it in its run. A message that
    comes again, and what a resumed run says again, takes the place of what was there: the sink is opened as for a run
    that goes on from there.

    Args:
        name: the sink's.
        build: makes a sink, for one run.
        ledger: knows how far it is.
        folder: holds a directory for each run, for sinks that write beside a run.
    """

    def __init__(self, name: str, build: Callable[[], Sink], ledger: Ledger, folder: Path) -> None:
        self.name = name
        self._build, self._ledger, self._folder = build, ledger, folder
        self._open: OrderedDict[str, Sink] = OrderedDict()
        self._failing = threading.Event()

    @property
    def failing(self) -> bool:
        """The sink has not taken the last message."""
        return self._failing.is_set()

    def hear(self, record: Any, envelope: Envelope) -> None:
        """Show a message to the sink. Raises what the sink raises."""
        try:
            if isinstance(record, TelemetryBatch) and (events := run_events(record)):
                self._run_events(run_id(envelope), events)
            if events := message_events(record, envelope):
                self._emit(MESSAGES, {"name": MESSAGES, "started": "bus"}, events)
        except BaseException:
            self._failing.set()
            raise
        self._failing.clear()

    def close(self) -> None:
        """Close all sinks."""
        while self._open:
            self._close(next(iter(self._open)))

    def _run_events(self, id: str, events: Sequence[Event]) -> None:
        first = events[0]
        if first.kind == EventKind.RUN_STARTED:
            self._ledger.begin_run(id, first.data)
        manifest = self._ledger.manifest(id) or {"name": first.run, "started": id}
        shown = self._ledger.next_of(self.name, id)
        if first.sequence < shown:
            self._close(id)
        if id not in self._open and shown:
            manifest = {**manifest, "resumed_at": min(first.sequence, shown)}
        # Said before: what is emitted and not written down comes again, and must be forgotten first.
        self._ledger.shown(self.name, id, events[-1].sequence + 1)
        self._emit(id, manifest, events)
        if any(it.kind == EventKind.RUN_FINISHED for it in events):
            self._close(id)

    def _emit(self, id: str, manifest: Mapping[str, Any], events: Sequence[Event]) -> None:
        if id not in self._open:
            directory = self._folder / "runs" / safe_name(id)
            directory.mkdir(parents=True, exist_ok=True)
            sink = self._build()
            sink.open({**manifest, "directory": str(directory)})
            self._open[id] = sink
        self._open.move_to_end(id)
        try:
            self._open[id].emit(events)
            self._open[id].flush()
        except BaseException:
            self._close(id)
            raise
        while len(self._open) > _OPEN:
            self._close(next(iter(self._open)))

    def _close(self, id: str) -> None:
        if (sink := self._open.pop(id, None)) is not None:
            sink.close()
