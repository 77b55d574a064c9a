"""The newest events of a run, and how they are filtered: a log has no bound, what is kept of it has one."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from typing import Any

from attrs import field, frozen

from esper_core.api import EventKind
from esper_runs.epoch_range import epoch_range
from esper_runs.event_text import event_summary

#: How many events of each kind are kept.
KEPT = 500

#: Of kinds whose data are large, what their description is made of.
_SLIM: Mapping[str, tuple[str, ...]] = {
    EventKind.RUN_STARTED: ("name",),
    EventKind.EPOCH_COMPLETED: ("train", "validation"),
    EventKind.DIAGNOSED: ("diagnostic",),
    EventKind.RUN_FINISHED: ("outcome",),
}

#: No text of an event is longer than this on the screen.
_LONGEST = 1_000

_FIELDS = ("kind", "host", "slot", "seed", "epoch")


@frozen(kw_only=True)
class EventRow:
    """One event as it is shown.

    Attributes:
        sequence: its number.
        round, epoch: from 0; the epoch is None outside of epochs.
        kind, host: as in the event.
        slot, seed: what it is about; "" if that is nothing.
        text: what it says.
    """

    sequence: int
    round: int
    epoch: int | None
    kind: str
    host: str
    slot: str
    seed: str
    text: str


class KeptEvents:
    """Keeps the newest events of each kind, and counts all of them."""

    def __init__(self) -> None:
        self.total = 0
        self._kept: dict[str, deque[Mapping[str, Any]]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event in, which must be newer than all before."""
        kind = event["kind"]
        if (names := _SLIM.get(kind)) is not None:
            data = event["data"]
            event = {**event, "data": {name: data.get(name) for name in names}}
        kept = self._kept.get(kind)
        if kept is None:
            kept = self._kept[kind] = deque(maxlen=KEPT)
        kept.append(event)
        self.total += 1

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def rows(self, chosen: "EventFilter") -> Iterator[EventRow]:
        """Yield the kept events that a filter lets through, the newest first."""
        wanted = [reversed(kept) for kind, kept in self._kept.items() if chosen.kind in (None, kind)]
        for event in merge(*wanted, key=lambda event: -int(event["sequence"])):
            row = _row(event)
            if chosen.passes(row):
                yield row


@frozen(kw_only=True)
class EventFilter:
    """Which events are shown: those in which every word occurs, and to which every field applies.

    Attributes:
        words: in lower case.
        kind, host, slot, seed: exactly this one; None: any.
        first, last: epochs, from 0, both included; None is not a bound.
    """

    words: tuple[str, ...] = ()
    kind: str | None = None
    host: str | None = None
    slot: str | None = None
    seed: str | None = None
    first: int | None = None
    last: int | None = None
    _bounded: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_bounded", self.first is not None or self.last is not None)

    @classmethod
    def parse(cls, text: str) -> "EventFilter":
        """Read what somebody typed: words, and ``kind=``, ``host=``, ``slot=``, ``seed=``, ``epoch=5-10`` (from 1).

        Raises:
            ValueError: if a range of epochs is none.
        """
        words: list[str] = []
        fields: dict[str, Any] = {}
        for word in text.split():
            name, equals, value = word.partition("=")
            if not equals or name not in _FIELDS:
                words.append(word.lower())
            elif name == "epoch":
                fields["first"], fields["last"] = epoch_range(value)
            else:
                fields[name] = value
        return cls(words=tuple(words), **fields)

    def passes(self, row: EventRow) -> bool:
        """Say whether an event is shown."""
        exact = ((self.kind, row.kind), (self.host, row.host), (self.slot, row.slot), (self.seed, row.seed))
        if any(wanted is not None and wanted != found for wanted, found in exact):
            return False
        if self._bounded and (
            row.epoch is None or row.epoch < (self.first or 0) or (self.last is not None and row.epoch > self.last)
        ):
            return False
        if not self.words:
            return True
        text = " ".join((row.kind, row.host, row.slot, row.seed, row.text)).lower()
        return all(word in text for word in self.words)


def _row(event: Mapping[str, Any]) -> EventRow:
    data, epoch = event["data"], event.get("epoch")
    return EventRow(
        sequence=event["sequence"],
        round=event.get("round") or 0,
        epoch=epoch if isinstance(epoch, int) else None,
        kind=event["kind"],
        host=event["host"],
        slot=str(data.get("slot") or ""),
        seed=str(data.get("seed_id") or ""),
        text=_text(event["kind"], data, event_summary)[:_LONGEST],
    )


def _text(kind: str, data: Mapping[str, Any], summary: Callable[[str, Mapping[str, Any]], str]) -> str:
    try:
        return summary(kind, data)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return f"an event that holds something else than {kind} does"
