"""Sinks of this project with a fault each: what they do wrong they do in place of, or beside, what they are for."""

import errno
import os
import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from attrs import define, field

from esper_core.leyline.events import Event
from esper_core.leyline.protocols import Sink


class Fault(StrEnum):
    """What a sink does wrong."""

    RAISE = "raise"
    HANG = "hang"
    SLOW = "slow"
    FULL_DISK = "full disk"
    REFUSE_TO_CLOSE = "refuse to close"


@define
class FaultySink:
    """A sink that has a fault from its second batch on, and goes on doing what it is for as far as it can.

    Attributes:
        sink: what it is otherwise.
        fault: what it does wrong.
        let_go: ends what hangs, and what is slow; a test that is over sets it.
        began: it has done something wrong.
    """

    sink: Sink
    fault: Fault
    slowness: float = 30.0
    let_go: threading.Event = field(factory=threading.Event)
    began: threading.Event = field(factory=threading.Event)
    batches: int = 0

    def open(self, manifest: Any) -> None:
        """Open the sink."""
        self.sink.open(manifest)

    def emit(self, events: Sequence[Event]) -> None:
        """Take events, or do something wrong."""
        self.batches += 1
        if self.batches > 1 and self.fault is not Fault.REFUSE_TO_CLOSE:
            self._do_wrong()
        self.sink.emit(events)

    def flush(self) -> None:
        """Flush the sink."""
        self.sink.flush()

    def close(self) -> None:
        """Close the sink, or refuse."""
        self.sink.close()
        if self.fault is Fault.REFUSE_TO_CLOSE:
            self.began.set()
            self.let_go.wait()

    def _do_wrong(self) -> None:
        self.began.set()
        if self.fault is Fault.RAISE:
            raise RuntimeError("it has a fault")
        if self.fault is Fault.FULL_DISK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.let_go.wait(None if self.fault is Fault.HANG else self.slowness)

    def __getattr__(self, name: str) -> Any:
        """What the sink can do besides: add events to the run, show progress."""
        return getattr(self.sink, name)


def check_counts(counts: Any, fault: Fault, emitted: int, failures: list[dict[str, Any]]) -> None:
    """Check what a hub says of a sink with a fault, and what it told the others."""
    assert counts.delivered + counts.dropped == emitted or fault is Fault.HANG
    if fault is Fault.SLOW:
        assert (counts.dropped, counts.errors, failures) == (0, 0, [])
        return
    assert counts.errors > 0
    if fault is Fault.REFUSE_TO_CLOSE:
        assert counts.dropped == 0
        return
    assert counts.dropped > 0
    assert counts.disabled
    words = {Fault.RAISE: "it has a fault", Fault.HANG: "did not return", Fault.FULL_DISK: "No space left"}
    assert words[fault] in failures[0]["error"]
