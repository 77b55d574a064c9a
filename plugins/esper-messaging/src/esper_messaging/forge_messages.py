"""What a forge puts on its bus: a catalogue update for each artifact that it has saved, and telemetry."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

from attrs import evolve

from esper_core.leyline.records import plain
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import MessageType
from esper_leyline_proto.kernels import KernelCatalogUpdate
from esper_leyline_proto.signing import signed_record_bytes
from esper_leyline_proto.telemetry import (
    HealthStatus,
    MetricPoint,
    SystemHealth,
    TelemetryBatch,
    TelemetryLevel,
    TelemetryPacket,
)
from esper_messaging.background import BackgroundPublisher
from esper_messaging.outbox import Outbox
from esper_messaging.sending import if_it_answers
from esper_oona.api import Bus, Draft, Keyring, Signer, keyring, state_directory

#: At its end a forge gives a bus that answers so many seconds for what is left.
CLOSE_SECONDS = 5.0

#: The part of Esper that speaks.
SOURCE = "tezzeret"


class ForgeMessages:
    """The producer of the messages of one forge. It never waits for the bus.

    Args:
        open_bus: opens the bus.
        address: of the bus.
        state: the state directory, with the keys and the outbox.

    Raises:
        EsperError: E611 if the outbox cannot be used, E612 if there are no keys, E614 if the bus does not keep messages
            as it was asked to. A bus that does not answer is no error: what is to be sent waits for it.
    """

    def __init__(self, open_bus: Callable[[], Bus], *, address: str, state: Path | None = None) -> None:
        state = state_directory(state)
        self._keys = keyring(state)
        self._name = address.partition(":")[0]
        sender = f"forge-{uuid4().hex[:8]}"
        bus = if_it_answers(open_bus)
        # Not of the publisher's thread: `saved` writes to it before it returns.
        self._outbox = Outbox(state, address.partition("?")[0], f"{sender}-save")
        self._publisher = BackgroundPublisher(
            open_bus, Signer(self._keys), Outbox(state, address.partition("?")[0], sender), name=SOURCE, bus=bus
        )

    def saved(self, update: KernelCatalogUpdate, facts: Mapping[str, Any], compiler: str) -> None:
        """Publish that an artifact was saved. When it returns, the update outlives this process.

        Published twice, it is the same message.

        Args:
            update: the artifact's, unsigned.
            facts: what was measured; numbers become metrics.
            compiler: that made it.

        Raises:
            EsperError: E611 if it cannot be written down.
        """
        payload = to_bytes(signed_update(update, self._keys))
        id = f"kernel-{update.artifact_ref[:32]}-{update.checksum[:16]}"
        update_type = MessageType.KERNEL_CATALOG_UPDATE
        self._outbox.keep([Draft(type=update_type, payload=payload, key=update.blueprint, id=id)])
        attributes = {"blueprint": update.blueprint, "compiler": compiler, "artifact": update.artifact_ref}
        figures = tuple(
            MetricPoint(
                name=f"{SOURCE}.{name}",
                value=float(value),
                unit="ms" if name.endswith("_ms") else "1",
                attributes=attributes,
            )
            for name, value in sorted(facts.items())
            if type(value) in (int, float) and isfinite(value)
        )
        self._telemetry(TelemetryLevel.INFO, figures, SystemHealth(status=HealthStatus.HEALTHY))

    def failed(self, blueprint: str, why: str, *, attempt: int, quarantined: bool) -> None:
        """Publish that an attempt has failed."""
        level = TelemetryLevel.ERROR if quarantined else TelemetryLevel.WARNING
        status = HealthStatus.UNHEALTHY if quarantined else HealthStatus.DEGRADED
        indicators = {"attempt": str(attempt), "state": "quarantined" if quarantined else "waiting"}
        figure = MetricPoint(name=f"{SOURCE}.failed", value=1.0, attributes={"blueprint": blueprint})
        self._telemetry(level, (figure,), SystemHealth(status=status, summary=why, indicators=indicators))

    def close(self) -> dict[str, Any]:
        """Send what is left, and return what became of all messages, as `esper_runs.bus_text` reads it."""
        counts = self._publisher.close(CLOSE_SECONDS)
        self._outbox.close()
        return {"name": self._name, **plain(counts)}

    def _telemetry(self, level: TelemetryLevel, metrics: tuple[MetricPoint, ...], health: SystemHealth) -> None:
        packet = TelemetryPacket(
            id=f"{SOURCE}-{uuid4().hex}",
            issued_at=datetime.now(UTC),
            source=SOURCE,
            level=level,
            metrics=metrics,
            health=health,
        )

        def made() -> list[Draft]:
            batch = TelemetryBatch(packets=(packet,), dropped=self._publisher.lost)
            return [Draft(type=MessageType.TELEMETRY, payload=to_bytes(batch), key=SOURCE)]

        self._publisher.put(MessageType.TELEMETRY, made)


def signed_update(update: KernelCatalogUpdate, keys: Keyring) -> KernelCatalogUpdate:
    """Return the update with a signature of its own, which outlives the envelope."""
    name, secret = keys.signing
    named = evolve(update, key_id=name)
    return evolve(named, signature=_signature(named, secret))


def is_genuine(update: KernelCatalogUpdate, keys: Keyring) -> bool:
    """Say whether an update is signed with one of the keys."""
    secret = keys.secrets.get(update.key_id or "")
    return secret is not None and hmac.compare_digest(_signature(update, secret), update.signature or b"")


def _signature(update: KernelCatalogUpdate, secret: bytes) -> bytes:
    return hmac.digest(secret, signed_record_bytes(update), hashlib.sha256)
