"""Events and figures as telemetry: what an event's source is follows from its kind."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite

from esper_core.leyline.events import Event, EventKind
from esper_leyline_proto.telemetry import (
    CircuitBreakerState,
    HealthStatus,
    MetricPoint,
    SystemHealth,
    TelemetryLevel,
    TelemetryPacket,
)

#: The part of Esper that each kind of event is about. A kind that a plugin has registered is about its namespace.
SOURCES: Mapping[EventKind, str] = {
    EventKind.RUN_STARTED: "nissa",
    EventKind.EPOCH_COMPLETED: "tolaria",
    EventKind.ACTION_DECIDED: "tamiyo",
    EventKind.ACTION_DENIED: "tolaria",
    EventKind.SEED_TRANSITION: "kasmina",
    EventKind.SEED_FINISHED: "kasmina",
    EventKind.GATES_EVALUATED: "kasmina",
    EventKind.REWARD_COMPUTED: "simic",
    EventKind.GOVERNOR_INTERVENED: "tolaria",
    EventKind.ROLLBACK: "tolaria",
    EventKind.DIAGNOSED: "tolaria",
    EventKind.PLUGIN_FAILED: "nissa",
    EventKind.ALERT: "nissa",
    EventKind.NOTICE: "nissa",
    EventKind.TELEMETRY_CHANGED: "nissa",
    EventKind.ROUND_FINISHED: "simic",
    EventKind.RUN_FINISHED: "nissa",
}

_LEVELS: Mapping[str, TelemetryLevel] = {
    EventKind.PLUGIN_FAILED: TelemetryLevel.ERROR,
    EventKind.ALERT: TelemetryLevel.WARNING,
    EventKind.GOVERNOR_INTERVENED: TelemetryLevel.WARNING,
    EventKind.ROLLBACK: TelemetryLevel.WARNING,
}

_BREAKERS = {
    "closed": CircuitBreakerState.CLOSED,
    "open": CircuitBreakerState.OPEN,
    "half-open": CircuitBreakerState.HALF_OPEN,
}


def source_of(kind: str) -> str:
    """Return the part of Esper that a kind of event is about, such as ``tolaria``, or ``forge`` for ``forge.kept``."""
    if kind in SOURCES:
        return SOURCES[EventKind(kind)]
    return kind.partition(".")[0]


def event_packets(events: Sequence[Event], *, prefix: str) -> list[TelemetryPacket]:
    """Return the packets of events: one for each source, the events of each in order.

    Args:
        events: numbered by the hub.
        prefix: begins the packets' ids, and tells the run from any other.
    """
    by_source: dict[str, list[Event]] = {}
    for event in events:
        by_source.setdefault(source_of(event.kind), []).append(event)
    return [
        TelemetryPacket(
            id=f"{prefix}-{source}-{some[0].sequence}-{some[-1].sequence}",
            issued_at=datetime.fromtimestamp(some[-1].time, UTC),
            source=source,
            level=max(_LEVELS.get(event.kind, TelemetryLevel.INFO) for event in some),
            run=some[0].run or None,
            events=tuple(some),
        )
        for source, some in by_source.items()
    ]


def bus_packet(metrics: Mapping[str, float | str], *, id: str, run: str | None) -> TelemetryPacket:
    """Return what a publisher says of its bus: source ``oona``; figures that are not finite are left out."""
    degraded = bool(metrics.get("degraded"))
    breaker = _BREAKERS[str(metrics.get("breaker", "closed"))]
    figures = [
        MetricPoint(name=f"oona.{name}", value=float(value), unit="s" if "_seconds" in name else "1")
        for name, value in sorted(metrics.items())
        if not isinstance(value, str) and isfinite(value)
    ]
    return TelemetryPacket(
        id=id,
        issued_at=datetime.now(UTC),
        source="oona",
        level=TelemetryLevel.WARNING if degraded else TelemetryLevel.INFO,
        run=run,
        metrics=tuple(figures),
        health=SystemHealth(
            status=HealthStatus.DEGRADED if degraded else HealthStatus.HEALTHY,
            summary="the bus does not answer" if degraded else "",
            breakers={"bus": breaker},
        ),
    )
