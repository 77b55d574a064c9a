"""The streams of a bus, which messages go on which, and how long each type is worth reading."""

from collections.abc import Mapping
from enum import StrEnum

from esper_leyline_proto.envelope import MessageType


class Stream(StrEnum):
    """A log of messages of related types. Dead letters are kept beside the streams, not in one."""

    NORMAL = "normal"
    EMERGENCY = "emergency"
    TELEMETRY = "telemetry"
    POLICY = "policy"
    KERNEL_REQUESTS = "kernel-requests"
    KERNEL_READY = "kernel-ready"
    KERNEL_ERRORS = "kernel-errors"


#: The stream of each type of message, unless it is critical.
ROUTES: Mapping[MessageType, Stream] = {
    MessageType.SYSTEM_STATE: Stream.NORMAL,
    MessageType.ADAPTATION_COMMAND: Stream.NORMAL,
    MessageType.FIELD_REPORT: Stream.NORMAL,
    MessageType.TELEMETRY: Stream.TELEMETRY,
    MessageType.POLICY_UPDATE: Stream.POLICY,
    MessageType.KERNEL_PREFETCH_REQUEST: Stream.KERNEL_REQUESTS,
    MessageType.KERNEL_PREFETCH_READY: Stream.KERNEL_READY,
    MessageType.KERNEL_PREFETCH_ERROR: Stream.KERNEL_ERRORS,
    MessageType.KERNEL_CATALOG_UPDATE: Stream.KERNEL_READY,
    MessageType.EMERGENCY_SIGNAL: Stream.EMERGENCY,
}

#: No payload is larger than this.
LARGEST_BYTES = 256 * 1024

_MINUTE, _DAY = 60.0, 86_400.0

#: For how many seconds a message of each type may be handled: the freshness window. What asks for something now is
#: short-lived, what is learned from keeps.
LIFETIMES: Mapping[MessageType, float] = {
    MessageType.SYSTEM_STATE: 15 * _MINUTE,
    MessageType.ADAPTATION_COMMAND: 2 * _MINUTE,
    MessageType.FIELD_REPORT: 30 * _DAY,
    MessageType.TELEMETRY: _DAY,
    MessageType.POLICY_UPDATE: 30 * _DAY,
    MessageType.KERNEL_PREFETCH_REQUEST: 2 * _MINUTE,
    MessageType.KERNEL_PREFETCH_READY: 15 * _MINUTE,
    MessageType.KERNEL_PREFETCH_ERROR: 15 * _MINUTE,
    MessageType.KERNEL_CATALOG_UPDATE: _DAY,
    MessageType.EMERGENCY_SIGNAL: 15 * _MINUTE,
}
