"""What the parts of Esper say of themselves."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum

from attrs import field, frozen

from esper_core.leyline.events import Event


class TelemetryLevel(IntEnum):
    """How bad it is."""

    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4


class HealthStatus(IntEnum):
    """How a part of Esper is."""

    HEALTHY = 1
    DEGRADED = 2
    UNHEALTHY = 3
    CRITICAL = 4


class CircuitBreakerState(IntEnum):
    """How a breaker is. The number is the value of the breaker's gauge."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


@frozen(kw_only=True)
class MetricPoint:
    """One figure: finite, in a unit as UCUM writes it ("1" for a count)."""

    name: str
    value: float
    unit: str = "1"
    attributes: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class TraceSpan:
    """A piece of work with a beginning and an end.

    Attributes:
        id: unique among all spans.
        parent_id: of the span that it belongs to; None: of none.
        name: of the work.
        started_at: with a time zone.
        ended_at: None: it is not over.
        attributes: what else there is to say.
    """

    id: str
    parent_id: str | None = None
    name: str
    started_at: datetime
    ended_at: datetime | None = None
    attributes: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class SystemHealth:
    """How the part that sends a packet is.

    Attributes:
        status: in one word.
        summary: in words.
        indicators: what it rests on.
        breakers: the part's breakers, by name.
    """

    status: HealthStatus
    summary: str = ""
    indicators: Mapping[str, str] = field(factory=dict)
    breakers: Mapping[str, CircuitBreakerState] = field(factory=dict)


@frozen(kw_only=True)
class TelemetryPacket:
    """What one part of Esper has to say at one moment.

    Attributes:
        id: unique among all packets.
        issued_at: with a time zone.
        source: the part, such as ``tolaria`` or ``oona``.
        level: how bad it is.
        run: the run's name; None: it belongs to no run.
        metrics: figures.
        events: of the run, in order.
        spans: pieces of work.
        health: how the part is; None: the packet does not say.
    """

    id: str
    issued_at: datetime
    source: str
    level: TelemetryLevel = TelemetryLevel.INFO
    run: str | None = None
    metrics: tuple[MetricPoint, ...] = ()
    events: tuple[Event, ...] = ()
    spans: tuple[TraceSpan, ...] = ()
    health: SystemHealth | None = None


@frozen(kw_only=True)
class TelemetryBatch:
    """Packets that travel together.

    Attributes:
        packets: in order.
        dropped: how many packets the producer has had to drop so far.
    """

    packets: tuple[TelemetryPacket, ...]
    dropped: int = 0
