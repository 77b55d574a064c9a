"""What becomes of a message that the bus does not take, and how a publisher counts."""

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen

from esper_leyline_proto.envelope import MessageType
from esper_oona.api import Pressure, Stream, WhenFull


class WhenAway(StrEnum):
    """What happens to a message while the bus does not answer, or its stream is full.

    Attributes:
        KEEP: it is written to the outbox, a file in the state directory, before it is sent, and stays there until the
            bus has confirmed it. It outlives the process.
        COUNT: it waits in memory as long as there is room. What has to make room, and what is left when the publisher
            is closed, is dropped and counted.
    """

    KEEP = "keep"
    COUNT = "count"


#: The declared policy: what says what became of the network is kept, what the next epoch says again is counted, and so
#: is a request that nobody waits for any more when the bus is back.
WHEN_AWAY: Mapping[MessageType, WhenAway] = {
    MessageType.SYSTEM_STATE: WhenAway.COUNT,
    MessageType.ADAPTATION_COMMAND: WhenAway.KEEP,
    MessageType.FIELD_REPORT: WhenAway.KEEP,
    MessageType.TELEMETRY: WhenAway.COUNT,
    MessageType.POLICY_UPDATE: WhenAway.KEEP,
    MessageType.KERNEL_PREFETCH_REQUEST: WhenAway.COUNT,
    MessageType.KERNEL_PREFETCH_READY: WhenAway.COUNT,
    MessageType.KERNEL_PREFETCH_ERROR: WhenAway.COUNT,
    MessageType.KERNEL_CATALOG_UPDATE: WhenAway.KEEP,
    MessageType.EMERGENCY_SIGNAL: WhenAway.KEEP,
}

#: A full stream holds no publisher up: what is kept is tried again later, the rest is dropped and counted.
PRESSURE: Mapping[Stream, Pressure] = dict.fromkeys(Stream, Pressure(when_full=WhenFull.DROP))


class BusState(StrEnum):
    """How a bus is, as its publisher last saw it. ``DEGRADED``: it does not answer, and is asked again now and then."""

    CONNECTED = "connected"
    DEGRADED = "degraded"


class BusChange(StrEnum):
    """What a publisher tells of its bus.

    Attributes:
        AWAY: it does not answer any more; the publisher is degraded.
        BREAKER_OPENED: it did not answer several times in a row, and is asked less often.
        BACK: it answers again.
    """

    AWAY = "away"
    BREAKER_OPENED = "breaker-opened"
    BACK = "back"


@frozen(kw_only=True)
class Counts:
    """What became of a publisher's messages, by type.

    Attributes:
        state: how the bus is.
        sent: those that the bus has confirmed.
        dropped: those that are lost.
        kept: messages in the outbox for this bus, other publishers' included; they are sent later. None: the outbox
            cannot be read.
        outages: how often the bus did not answer any more.
        last_error: what went wrong last.
    """

    state: BusState = BusState.CONNECTED
    sent: Mapping[str, int] = field(factory=dict)
    dropped: Mapping[str, int] = field(factory=dict)
    kept: int | None = 0
    outages: int = 0
    last_error: str | None = None


def type_name(type: MessageType) -> str:
    """Return the name of a type of message as commands print it, such as ``field-report``."""
    return type.name.lower().replace("_", "-")
