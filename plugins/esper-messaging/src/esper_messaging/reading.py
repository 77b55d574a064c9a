"""Reading a bus: records by their class, as a consumer handles them, and as a person reads them."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import attrs
from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.messages import RECORDS, content
from esper_messaging.delivery import type_name
from esper_oona.api import ROUTES, Bus, Refusal, Replays, Signer, Stream, Subscriber, Subscription

#: Takes a record, and the envelope that it came in.
Handle = Callable[[Any, Envelope], None]

_TYPES = {record: type for type, record in RECORDS.items()}

#: A tensor with more elements is shown by its shape.
_SHOWN_ELEMENTS = 16


def streams_of(types: Iterable[MessageType]) -> tuple[Stream, ...]:
    """Return the streams on which messages of these types can be.

    What is critical goes through the emergency stream; beyond its token bucket, emergencies take the normal one.
    """
    wanted = {*types}
    found = {ROUTES[type] for type in wanted} | {Stream.EMERGENCY}
    if MessageType.EMERGENCY_SIGNAL in wanted:
        found.add(Stream.NORMAL)
    return tuple(stream for stream in Stream if stream in found)


class Reader:
    """One consumer of all streams on which the records are that it wants.

    Args:
        bus: where from.
        group: the consumers that share the work.
        consumer: unique among those that live.
        handlers: by class of record, one of `esper_leyline_proto.messages.RECORDS`. A record that cannot be read is its
            message's failure, as what a handler raises is.
        signer, replays, subscription: as for `esper_oona.api.Subscriber`.

    Attributes:
        subscribers: by stream.

    Raises:
        TypeError: if no message carries records of a class.
    """

    def __init__(
        self,
        bus: Bus,
        group: str,
        consumer: str,
        handlers: Mapping[type, Handle],
        *,
        signer: Signer,
        replays: Replays,
        subscription: Subscription | None = None,
    ) -> None:
        if unknown := [record.__name__ for record in handlers if record not in _TYPES]:
            raise TypeError(f"no message carries a {unknown[0]}")
        by_type = {_TYPES[record]: _handling(handle) for record, handle in handlers.items()}
        self._idle_seconds = (subscription or Subscription()).idle_seconds
        self.subscribers = {
            stream: Subscriber(
                bus, stream, group, consumer, by_type, signer=signer, replays=replays, subscription=subscription
            )
            for stream in streams_of(by_type)
        }

    @property
    def refused(self) -> dict[str, int]:
        """How many messages were refused so far, by reason. Replays are left out: a run that goes on makes some."""
        reasons = [it for it in Refusal if it is not Refusal.REPLAYED]
        every = [it.metrics for it in self.subscribers.values()]
        counts = {str(reason): sum(it.value(f"refused.{reason}") for it in every) for reason in reasons}
        return {reason: count for reason, count in counts.items() if count}

    def poll(self) -> int:
        """Take one batch from each stream, emergencies first; return how many messages there were.

        Raises:
            EsperError: E611 if the bus does not answer.
        """
        first = sorted(self.subscribers, key=lambda stream: stream is not Stream.EMERGENCY)
        return sum(self.subscribers[stream].poll() for stream in first)

    def run(self, stop: threading.Event) -> None:
        """Take messages until asked to stop; a bus that does not answer is asked again."""
        while not stop.is_set():
            try:
                found = self.poll()
            except EsperError as error:
                if error.code != "E611":
                    raise
                found = 0
            if not found:
                stop.wait(self._idle_seconds)


def joined(parts: Iterable[FieldReportPacket]) -> FieldReportPacket | None:
    """Return the packet that was cut into these parts, in any order; None as long as one is missing.

    Raises:
        ValueError: if they are not parts of one packet.
    """
    found = [*parts]
    if len({(part.id, part.parts) for part in found}) != 1:
        raise ValueError("these are parts of several packets, or of none")
    first, by_number = found[0], {part.part: part for part in found}
    if first.parts is None:
        return first
    if {*by_number} != {*range(first.parts)}:
        return None
    ordered = [by_number[number] for number in range(first.parts)]
    trajectory = ordered[0].trajectory
    if trajectory is None:
        return ordered[0]
    steps = tuple(step for part in ordered if part.trajectory is not None for step in part.trajectory.steps)
    return evolve(ordered[0], part=None, parts=None, trajectory=evolve(trajectory, steps=steps))


def readable(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope and its record as plain data by name of field, without the payload's bytes.

    A record that cannot be read is its error. Nothing is verified.
    """
    head = {
        field.name: plain_record(getattr(envelope, field.name))
        for field in attrs.fields(Envelope)
        if field.name not in ("payload", "signature")
    }
    try:
        record: Any = plain_record(content(envelope))
    except EsperError as error:
        record = {"error": str(error)}
    return head | {"type": type_name(envelope.type), "signed": envelope.signature is not None, "content": record}


def lines_of(data: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return plain data as lines ``name: value``; what is None, or empty, is left out."""
    lines: list[str] = []
    for name, value in data.items():
        if value is None or value in ({}, [], ""):
            continue
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *lines_of(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(it, Mapping) for it in value):
            for number, it in enumerate(value):
                inner = it if isinstance(it, Mapping) else {"": it}
                lines += [f"{indent}{name}[{number}]:", *lines_of(inner, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines


def _handling(handle: Handle) -> Callable[[Envelope], None]:
    return lambda envelope: handle(content(envelope), envelope)


def plain_record(value: Any) -> Any:
    """Return a record, or a part of one, as plain data by name of field; a large tensor is its type and shape."""
    if value is None or (isinstance(value, bool | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if attrs.has(type(value)):
        return {field.name: plain_record(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(plain_record(name)): plain_record(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(plain_record, value))
    if hasattr(value, "tolist"):
        return value.tolist() if _size(value) <= _SHOWN_ELEMENTS else f"<{value.dtype} {_shape(value)}>"
    return [plain_record(item) for item in value] if isinstance(value, Sequence) else str(value)


def _size(array: Any) -> int:
    return int(array.numel() if hasattr(array, "numel") else getattr(array, "size", 0) or len(array))


def _shape(array: Any) -> str:
    return "x".join(map(str, getattr(array, "shape", (len(array),))))
