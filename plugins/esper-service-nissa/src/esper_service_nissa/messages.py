"""Messages of a bus as events: those of runs, and what is said beside them as events of a log of its own."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from esper_core.api import Event
from esper_leyline_proto.commands import AdaptationCommand, EmergencySignal
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.state import SystemStatePacket
from esper_leyline_proto.telemetry import TelemetryBatch, TelemetryPacket
from esper_messaging.reading import plain_record

#: The run under whose name messages that are no events of a run are stored.
MESSAGES = "messages"

#: What Nissa reads: every class of record about a run or a service.
CLASSES = (TelemetryBatch, SystemStatePacket, AdaptationCommand, FieldReportPacket, EmergencySignal)

_KINDS: Mapping[type, str] = {
    SystemStatePacket: "message.system-state",
    AdaptationCommand: "message.adaptation-command",
    FieldReportPacket: "message.field-report",
    EmergencySignal: "message.emergency-signal",
    TelemetryPacket: "message.telemetry",
}


def run_id(envelope: Envelope) -> str:
    """Return the id of the run that a message is about, unique among all runs; "" if it is about none."""
    found, slash, _ = envelope.key.partition("/")
    return found if slash else ""


def run_events(batch: TelemetryBatch) -> list[Event]:
    """Return the events of a batch in the order of the run's log: it has them by source."""
    return sorted((it for packet in batch.packets for it in packet.events), key=lambda it: it.sequence)


def message_events(record: Any, envelope: Envelope) -> list[Event]:
    """Return what a message says that is no event of a run's log, as events.

    The number of each follows from the message's id: stored again, it is the same event.
    """
    if isinstance(record, TelemetryBatch):
        parts: list[tuple[str, Any]] = [(it.id, it) for it in record.packets if not it.events]
    else:
        parts = [(envelope.id, record)]
    return [
        Event(
            kind=_KINDS[type(it)],
            sequence=int.from_bytes(sha256(id.encode()).digest()[:6]),
            time=envelope.issued_at.timestamp(),
            run=MESSAGES,
            data={"message": id, **plain_record(it)},
        )
        for id, it in parts
    ]
