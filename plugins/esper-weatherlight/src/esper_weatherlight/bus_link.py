"""The supervisor on its bus: it hears emergency signals, and says how the services are. Nothing waits for the bus."""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.commands import EmergencyLevel, EmergencySignal
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_leyline_proto.telemetry import (
    HealthStatus,
    MetricPoint,
    SystemHealth,
    TelemetryBatch,
    TelemetryLevel,
    TelemetryPacket,
)
from esper_messaging.background import BackgroundPublisher
from esper_messaging.delivery import BusChange
from esper_messaging.outbox import Outbox
from esper_messaging.reading import Reader
from esper_oona.api import Bus, Draft, Replays, Signer, keyring
from esper_weatherlight.emergencies import SERVICE, Emergencies
from esper_weatherlight.log import OURS
from esper_weatherlight.states import State

#: Seconds between two packets of telemetry, and before a bus that does not answer is asked again.
TELEMETRY_EVERY, ASK_AGAIN = 10.0, 1.0

#: Messages that are left when everything ends have so many seconds.
_CLOSE_SECONDS = 3.0


class BusLink:
    """Hears and speaks in threads of its own.

    Args:
        open_bus: opens the bus.
        address: of the bus.
        state: the state directory.
        emergencies: is told what was heard.
        status: how everything is, as `Supervisor.status`.
        say: is told what becomes of the bus, and why no emergencies are heard, in threads of the link's.

    Raises:
        EsperError: E612 if there are no keys.
    """

    def __init__(
        self,
        open_bus: Callable[[], Bus],
        address: str,
        state: Path,
        emergencies: Emergencies,
        status: Callable[[], Mapping[str, Any]],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._open_bus, self._state, self._say = open_bus, state, say
        self._emergencies, self._status = emergencies, status
        self._signer = Signer(keyring(state))
        self._id = uuid4().hex
        outbox = Outbox(state, address.partition("?")[0], f"{OURS}-{self._id[:8]}")
        self._publisher = BackgroundPublisher(open_bus, self._signer, outbox, name=OURS, changed=self._changed)
        self._stop = threading.Event()
        for work in (self._listen, self._report):
            threading.Thread(target=work, name=f"weatherlight{work.__name__}", daemon=True).start()

    def emergency(self, level: EmergencyLevel, service: str, reason: str) -> None:
        """Publish a signal about a service. It counts here at once: the bus may be what has failed."""
        signal = EmergencySignal(
            id=f"{OURS}-{uuid4().hex}",
            level=level,
            reason=reason,
            origin=OURS,
            triggered_at=datetime.now(UTC),
            attributes={SERVICE: service},
        )
        self._emergencies.hear(signal)
        draft = Draft(
            type=MessageType.EMERGENCY_SIGNAL,
            payload=to_bytes(signal),
            key=OURS,
            priority=MessagePriority.CRITICAL,
            id=signal.id,
        )
        self._publisher.put(MessageType.EMERGENCY_SIGNAL, lambda: [draft])

    def last_words(self) -> None:
        """Say how everything is for the last time, while the bus is still there, and hear nothing more."""
        if not self._stop.is_set():
            self._stop.set()
            self._tell_all()

    def close(self) -> None:
        """Send what is left; what cannot be sent now is kept."""
        self.last_words()
        self._publisher.close(_CLOSE_SECONDS)

    def _listen(self) -> None:
        """Read emergency signals; a bus that does not answer, or cannot be opened, is asked again."""
        told = ""
        while not self._stop.is_set():
            with suppress(EsperError), closing(self._open_bus()) as bus:
                try:
                    with closing(Replays(self._state / "replays.sqlite")) as replays:
                        self._reader(bus, replays).run(self._stop)
                except EsperError as error:
                    if (why := f"no emergencies are heard: {error.what}: {error.why}") != told:
                        self._say(why)
                        told = why
            self._stop.wait(ASK_AGAIN)

    def _reader(self, bus: Bus, replays: Replays) -> Reader:
        def heard(signal: Any, _: Envelope) -> None:
            self._emergencies.hear(signal)

        return Reader(bus, OURS, f"{OURS}-{self._id}", {EmergencySignal: heard}, signer=self._signer, replays=replays)

    def _changed(self, change: BusChange, why: str) -> None:
        if change is BusChange.AWAY:
            self._say(f"the bus does not answer: {why.splitlines()[0]}")
        elif change is BusChange.BACK:
            self._say("the bus answers again")

    def _report(self) -> None:
        while not self._stop.wait(TELEMETRY_EVERY):
            self._tell_all()

    def _tell_all(self) -> None:
        packet = telemetry(self._status(), f"{OURS}-{self._id}-{uuid4().hex}")
        draft = Draft(type=MessageType.TELEMETRY, payload=to_bytes(TelemetryBatch(packets=(packet,))), key=OURS)
        self._publisher.put(MessageType.TELEMETRY, lambda: [draft])


def telemetry(status: Mapping[str, Any], id: str) -> TelemetryPacket:
    """Return how all services are, as a packet: source ``weatherlight``.

    Args:
        status: as `Supervisor.status`.
        id: of the packet.
    """
    services = status["services"]
    unsettled = [f"{it['name']}: {it['state']}" for it in services if it["state"] not in ("ready", "done")]
    health = HealthStatus[str(status["health"]).upper()]
    points = [
        MetricPoint(
            name="weatherlight.services",
            value=float(sum(it["state"] == state for it in services)),
            attributes={"state": str(state)},
        )
        for state in State
    ]
    points += [
        MetricPoint(name="weatherlight.restarts", value=float(it["restarts"]), attributes={SERVICE: it["name"]})
        for it in services
    ]
    worst = TelemetryLevel.INFO if health is HealthStatus.HEALTHY else TelemetryLevel.WARNING
    return TelemetryPacket(
        id=id,
        issued_at=datetime.now(UTC),
        source=OURS,
        level=TelemetryLevel.CRITICAL if health is HealthStatus.CRITICAL else worst,
        metrics=tuple(points),
        health=SystemHealth(
            status=health,
            summary=", ".join(unsettled),
        ),
    )
