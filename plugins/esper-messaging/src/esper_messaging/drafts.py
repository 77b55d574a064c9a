"""The messages of a run, each with an id that it has again when the same thing is said again after a resume."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil

from attrs import evolve, frozen

from esper_core.leyline.actions import Action, Verdict
from esper_core.leyline.events import Event
from esper_core.leyline.learning import Trajectory
from esper_core.leyline.reports import FieldReport, HostReport
from esper_leyline_proto.commands import AdaptationCommand, EmergencyLevel, EmergencySignal
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import MessagePriority, MessageType
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.state import HardwareContext, state_packet
from esper_leyline_proto.telemetry import TelemetryBatch, TelemetryPacket
from esper_messaging.telemetry import event_packets
from esper_oona.api import LARGEST_BYTES, Draft


@frozen(kw_only=True)
class RunIdentity:
    """Which run speaks.

    Attributes:
        name: the run's; runs in other directories may have the same one.
        id: unique among all runs; the same after a resume.
    """

    name: str
    id: str

    def key(self, host: str = "") -> str:
        """Return the key in whose order messages about a host, or about the run as a whole, are handled."""
        return f"{self.id}/{host}"


def state_draft(
    report: HostReport, run: RunIdentity, round: int, at: datetime, hardware: HardwareContext | None
) -> Draft:
    """Return how a host stands."""
    id = f"{run.id}-state-{round}-{report.host}-{report.epoch}"
    packet = state_packet(report, id=id, run=run.name, round=round, issued_at=at, hardware=hardware)
    return Draft(type=MessageType.SYSTEM_STATE, payload=to_bytes(packet), key=run.key(report.host), id=id)


def command_draft(action: Action, verdict: Verdict, place: Event, run: RunIdentity, at: datetime) -> Draft:
    """Return what was asked of a host, and what its governor answered; `place` is the event of the action."""
    command = AdaptationCommand(
        run=run.name,
        host=place.host,
        round=place.round,
        epoch=place.epoch or 0,
        issued_at=at,
        action=action,
        verdict=verdict,
    )
    id = f"{run.id}-command-{action.id}"
    return Draft(type=MessageType.ADAPTATION_COMMAND, payload=to_bytes(command), key=run.key(place.host), id=id)


def emergency_draft(
    level: EmergencyLevel,
    reason: str,
    origin: str,
    run: RunIdentity,
    *,
    id: str,
    at: datetime,
    attributes: Mapping[str, str],
) -> Draft:
    """Return what cannot wait. It goes through the emergency stream."""
    signal = EmergencySignal(
        id=f"{run.id}-{id}",
        level=level,
        reason=reason,
        origin=origin,
        triggered_at=at,
        run=run.name,
        attributes=attributes,
    )
    return Draft(
        type=MessageType.EMERGENCY_SIGNAL,
        payload=to_bytes(signal),
        key=run.key(),
        priority=MessagePriority.CRITICAL,
        id=signal.id,
    )


def report_drafts(
    host: str,
    round: int,
    seeds: Sequence[FieldReport],
    trajectory: Trajectory | None,
    run: RunIdentity,
    schema: str | None,
) -> list[Draft]:
    """Return what there is to learn from one host in one round, in as many parts as its size asks for."""
    whole = FieldReportPacket(
        id=f"{run.id}-report-{round}-{host}",
        run=run.name,
        issued_at=datetime.now(UTC),
        seeds=tuple(seeds),
        trajectory=trajectory,
        observation_schema=schema,
    )
    payloads = [to_bytes(whole)]
    steps = () if trajectory is None else trajectory.steps
    parts = 1
    while max(map(len, payloads)) > LARGEST_BYTES and parts < len(steps):
        parts = min(len(steps), max(2 * parts, ceil(len(payloads[0]) / LARGEST_BYTES)))
        payloads = [to_bytes(part) for part in _parts(whole, parts)]
    return [
        Draft(
            type=MessageType.FIELD_REPORT, payload=payload, key=run.key(host), id=f"{whole.id}-{number}-{len(payloads)}"
        )
        for number, payload in enumerate(payloads)
    ]


def _parts(whole: FieldReportPacket, count: int) -> Iterator[FieldReportPacket]:
    """Cut a trajectory into parts; the seeds are in the first one."""
    trajectory = whole.trajectory
    assert trajectory is not None
    length = ceil(len(trajectory.steps) / count)
    slices = [trajectory.steps[at : at + length] for at in range(0, len(trajectory.steps), length)]
    for number, steps in enumerate(slices):
        yield evolve(
            whole,
            seeds=whole.seeds if number == 0 else (),
            trajectory=evolve(trajectory, steps=steps),
            part=number,
            parts=len(slices),
        )


def telemetry_drafts(events: Sequence[Event], run: RunIdentity, dropped: int) -> list[Draft]:
    """Return events as telemetry, in as many batches as their size asks for."""
    payload = to_bytes(TelemetryBatch(packets=tuple(event_packets(events, prefix=run.id)), dropped=dropped))
    if len(payload) > LARGEST_BYTES and len(events) > 1:
        half = len(events) // 2
        return [*telemetry_drafts(events[:half], run, dropped), *telemetry_drafts(events[half:], run, dropped)]
    return [_telemetry(payload, run)]


def packet_draft(packet: TelemetryPacket, run: RunIdentity, dropped: int) -> Draft:
    """Return one packet of telemetry."""
    return _telemetry(to_bytes(TelemetryBatch(packets=(packet,), dropped=dropped)), run)


def _telemetry(payload: bytes, run: RunIdentity) -> Draft:
    return Draft(type=MessageType.TELEMETRY, payload=payload, key=run.key())
