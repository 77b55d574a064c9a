"""Which record an envelope of each type carries: envelopes are filled and opened here, by their type alone."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.commands import AdaptationCommand, EmergencySignal
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_leyline_proto.kernels import (
    KernelCatalogUpdate,
    KernelPrefetchError,
    KernelPrefetchReady,
    KernelPrefetchRequest,
)
from esper_leyline_proto.learning import FieldReportPacket, PolicyUpdate
from esper_leyline_proto.state import SystemStatePacket
from esper_leyline_proto.telemetry import TelemetryBatch

#: What an envelope of each type carries.
RECORDS: Mapping[MessageType, type[Any]] = {
    MessageType.SYSTEM_STATE: SystemStatePacket,
    MessageType.ADAPTATION_COMMAND: AdaptationCommand,
    MessageType.FIELD_REPORT: FieldReportPacket,
    MessageType.TELEMETRY: TelemetryBatch,
    MessageType.POLICY_UPDATE: PolicyUpdate,
    MessageType.KERNEL_PREFETCH_REQUEST: KernelPrefetchRequest,
    MessageType.KERNEL_PREFETCH_READY: KernelPrefetchReady,
    MessageType.KERNEL_PREFETCH_ERROR: KernelPrefetchError,
    MessageType.KERNEL_CATALOG_UPDATE: KernelCatalogUpdate,
    MessageType.EMERGENCY_SIGNAL: EmergencySignal,
}

_TYPES = {record: type for type, record in RECORDS.items()}

#: The version of each content that this Esper writes, and up to which it reads. One goes up when the meaning of a
#: field changes; fields that are added do not count.
SCHEMA_VERSIONS: Mapping[MessageType, int] = dict.fromkeys(MessageType, 1)


def enclose(
    record: Any,
    *,
    producer: str = "",
    key: str = "",
    priority: MessagePriority = MessagePriority.NORMAL,
    lifetime: timedelta | None = None,
) -> Envelope:
    """Return an envelope, issued now and not signed, with this record in it.

    Args:
        record: of one of the classes in `RECORDS`.
        producer, key, priority: of the envelope.
        lifetime: how long it is worth handling; None: always.

    Raises:
        EsperError: E601 if a value has no place in the message.
        TypeError: if nothing carries such records.
    """
    if (kind := _TYPES.get(type(record))) is None:
        raise TypeError(f"no envelope carries a {type(record).__name__}")
    now = datetime.now(UTC)
    return Envelope(
        id=uuid.uuid4().hex,
        type=kind,
        schema_version=SCHEMA_VERSIONS[kind],
        issued_at=now,
        expires_at=None if lifetime is None else now + lifetime,
        priority=priority,
        key=key,
        producer=producer,
        payload=to_bytes(record),
    )


def content(envelope: Envelope) -> Any:
    """Return the record in an envelope, of the class that `RECORDS` names for its type.

    Raises:
        EsperError: E602 if its content is of a later version than this Esper reads, or does not fit its type.
    """
    known = SCHEMA_VERSIONS[envelope.type]
    if envelope.schema_version > known:
        raise EsperError(
            "E602",
            f"the content of message {envelope.id} is of a later version than this Esper reads",
            where=f"Envelope.schema_version {envelope.schema_version}",
            why=f"of {envelope.type.name} it reads versions up to {known}",
            fix="update the consumer",
        )
    return from_bytes(RECORDS[envelope.type], envelope.payload)
