"""What one run puts on its bus: states, commands with their verdicts, telemetry, field reports, emergencies."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

from esper_core.leyline.actions import Action, GovernorMode, Verdict
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.learning import Trajectory
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport, HostReport
from esper_core.leyline.structure import structure
from esper_leyline_proto.commands import EmergencyLevel
from esper_leyline_proto.envelope import MessageType
from esper_messaging.background import BackgroundPublisher
from esper_messaging.delivery import BusChange
from esper_messaging.drafts import (
    RunIdentity,
    command_draft,
    emergency_draft,
    packet_draft,
    report_drafts,
    state_draft,
    telemetry_drafts,
)
from esper_messaging.hardware import hardware
from esper_messaging.outbox import Outbox
from esper_messaging.repetition import to_repeat
from esper_messaging.sending import if_it_answers
from esper_messaging.telemetry import bus_packet
from esper_messaging.telemetry_sink import TelemetrySink
from esper_oona.api import Bus, Draft, Signer, keyring, state_directory

#: At the end of a run, a bus that answers has so many seconds for what is left.
CLOSE_SECONDS = 5.0

#: The bus's own figures are telemetry after an epoch, but not more often than this, and at the end.
METRICS_SECONDS = 10.0

#: The entry of a manifest that tells a run from any other on a bus.
MANIFEST_KEY = "bus"


class RunMessages:
    """The producer of all messages of one run. Nothing here waits for the bus, or raises, once it has begun.

    Args:
        open_bus: opens the bus.
        name: of the bus's component, for those who read.
        address: of the bus.
        device: of a host, by its name.

    Attributes:
        sink: is to be one of the run's sinks; the manifest that it is opened with holds `MANIFEST_KEY`.

    Raises:
        EsperError: E612 if there are no keys, E614 if the bus does not keep messages as it was asked to. A bus that
            does not answer is no error: what is to be sent waits for it.
    """

    def __init__(self, open_bus: Callable[[], Bus], *, name: str, address: str, device: Callable[[str], str]) -> None:
        self._open_bus, self._name, self._address, self._device = open_bus, name, address, device
        self._state = state_directory()
        self._signer = Signer(keyring(self._state))
        self._bus = if_it_answers(open_bus)
        self._publisher: BackgroundPublisher | None = None
        self._run = RunIdentity(name="", id="")
        self._decided: tuple[Event, datetime] | None = None
        self._last_states: dict[str, tuple[int, int]] = {}
        self._metrics_at = float("-inf")
        self.sink = TelemetrySink(self._begin, self._telemetry, self._keep)

    def _begin(self, manifest: Mapping[str, Any]) -> None:
        self._run = RunIdentity(name=str(manifest["name"]), id=str(manifest[MANIFEST_KEY]["run_id"]))
        outbox = Outbox(self._state, self._address, f"{self._run.id}-{uuid4().hex[:8]}")
        publisher = self._publisher = BackgroundPublisher(
            self._open_bus, self._signer, outbox, name=self._run.name, bus=self._bus, changed=self._changed
        )
        self._put(MessageType.TELEMETRY, lambda: self._repeated(manifest, publisher.lost))

    def hear(self, event: Event) -> None:
        """Take every event of the run, whatever its telemetry level: commands and emergencies are made of some."""
        if event.kind is EventKind.ACTION_DENIED:
            self._answered(structure(Verdict, dict(event.data)))
        # A signal handler's notice can be between an action and its answer.
        if event.kind in (EventKind.ACTION_DENIED, EventKind.NOTICE):
            return
        self._answered(None)
        if event.kind is EventKind.ACTION_DECIDED:
            self._decided = event, _now()
        elif event.kind is EventKind.ROLLBACK:
            self._emergency(EmergencyLevel.CONSERVATIVE, f"{event.host} was rolled back", event)
        elif event.kind is EventKind.GOVERNOR_INTERVENED and event.data["mode"] == GovernorMode.STOPPED:
            self._emergency(EmergencyLevel.HALT, f"the governor of {event.host} has stopped it", event)

    def host_reports(self, reports: Sequence[HostReport], round: int = 0) -> None:
        """Take how hosts stand before the first epoch, or after one; a host that has not moved is said nothing of."""
        for report in reports:
            if self._last_states.get(report.host) != (place := (round, report.epoch)):
                self._last_states[report.host] = place
                self._put(MessageType.SYSTEM_STATE, partial(self._state_of, report, round, _now()))
        if monotonic() - self._metrics_at >= METRICS_SECONDS:
            self._metrics()

    def round_over(
        self, round: int, finals: Sequence[FinalReport], trajectories: Sequence[Trajectory], schema: str | None
    ) -> None:
        """Take what there is to learn from a round that ran to its end.

        Args:
            round: its number, from 0.
            finals: of the hosts that may grow.
            trajectories: of those whose policy learns.
            schema: SHA-256 of the schema by which the policy reads observations; None: it has none.
        """
        by_host = {it.host: it for it in trajectories}
        for final in finals:
            made = partial(report_drafts, final.host, round, final.seeds, by_host.get(final.host), self._run, schema)
            self._put(MessageType.FIELD_REPORT, made)

    def close(self) -> dict[str, Any]:
        """Send what is left, and return what became of all messages, for the run's result."""
        self._answered(None)
        if self._publisher is None:
            if self._bus is not None:
                self._bus.close()
            return {}
        self._metrics()
        publisher, self._publisher = self._publisher, None
        return {"name": self._name, **plain(publisher.close(CLOSE_SECONDS))}

    def _put(self, type: MessageType, make: Callable[[], Sequence[Draft]]) -> None:
        if self._publisher is not None:
            self._publisher.put(type, make)

    def _telemetry(self, events: Sequence[Event]) -> None:
        publisher = self._publisher
        if publisher is not None:
            self._put(MessageType.TELEMETRY, lambda: telemetry_drafts(events, self._run, publisher.lost))

    def _repeated(self, manifest: Mapping[str, Any], lost: int) -> list[Draft]:
        """Return once more what a run that goes on has said last, in the publisher's thread."""
        events = to_repeat(manifest)
        return telemetry_drafts(events, self._run, lost) if events else []

    def _keep(self) -> None:
        publisher = self._publisher
        if publisher is not None:
            publisher.write_down()

    def _metrics(self) -> None:
        publisher, self._metrics_at = self._publisher, monotonic()

        def made() -> list[Draft]:
            assert publisher is not None
            packet = bus_packet(publisher.metrics, id=f"{self._run.id}-oona-{uuid4().hex}", run=self._run.name)
            return [packet_draft(packet, self._run, publisher.lost)]

        self._put(MessageType.TELEMETRY, made)

    def _state_of(self, report: HostReport, round: int, at: datetime) -> list[Draft]:
        return [state_draft(report, self._run, round, at, hardware(self._device(report.host)))]

    def _answered(self, denied: Verdict | None) -> None:
        """Publish the last action: with this verdict, or as one that was allowed, when something else is said."""
        if self._decided is None:
            return
        (event, at), self._decided = self._decided, None
        self._put(MessageType.ADAPTATION_COMMAND, partial(self._command, event, denied, at))

    def _command(self, event: Event, denied: Verdict | None, at: datetime) -> list[Draft]:
        action = structure(Action, dict(event.data))
        verdict = denied or Verdict(action_id=action.id, allowed=True)
        return [command_draft(action, verdict, event, self._run, at)]

    def _emergency(self, level: EmergencyLevel, what: str, event: Event) -> None:
        reason, at = f"{what}: {event.data.get('reason')}", _now()
        attributes = {"host": event.host, "round": str(event.round), "epoch": str(event.epoch), "kind": str(event.kind)}
        id = f"emergency-{event.kind}-{event.round}-{event.host}-{event.epoch}"
        made = partial(emergency_draft, level, reason, "tolaria", self._run, id=id, at=at, attributes=attributes)
        self._put(MessageType.EMERGENCY_SIGNAL, lambda: [made()])

    def _changed(self, change: BusChange, why: str) -> None:
        """Say in the run's log and on the bus, in the publisher's thread, what became of the bus."""
        with suppress(RuntimeError):  # nothing happens in the run that would number more notices
            if change is BusChange.AWAY:
                kept = f"commands, field reports and emergencies are kept in {self._state}"
                self.sink.notice(f"degraded: the bus {self._name} does not answer; {kept}, the rest is counted")
            elif change is BusChange.BACK:
                self.sink.notice(f"the bus {self._name} answers again; what was kept for it is sent now")
        if change is BusChange.BREAKER_OPENED:
            attributes = {"breaker": f"bus {self._name}", "error": why.partition("\n")[0]}
            reason = f"the breaker in front of the bus {self._name} has opened"
            id, at = f"emergency-breaker-{uuid4().hex}", _now()
            level = EmergencyLevel.ELEVATED
            made = partial(emergency_draft, level, reason, "oona", self._run, id=id, at=at, attributes=attributes)
            self._put(MessageType.EMERGENCY_SIGNAL, lambda: [made()])


def _now() -> datetime:
    return datetime.now(UTC)
