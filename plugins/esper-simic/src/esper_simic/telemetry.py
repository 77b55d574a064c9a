"""What Simic says of itself on the bus: each attempt to learn, and each policy that was refused."""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any
from uuid import uuid4

from esper_core.leyline.events import Event
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import MessageType
from esper_leyline_proto.learning import PolicyUpdate, PolicyValidation
from esper_leyline_proto.telemetry import MetricPoint, TelemetryBatch, TelemetryLevel, TelemetryPacket
from esper_oona.api import Draft
from esper_simic.updates import RefusedPolicyError

_SOURCE = "simic"

#: The kinds of events, behind ``simic.``.
PUBLISHED, VALIDATION_FAILED, LEARNING_FAILED = "published", "validation_failed", "learning_failed"
PROMOTED, REFUSED = "promoted", "refused"


def update_draft(update: PolicyUpdate) -> Draft:
    """Return a policy update, or a part of one, as a message; those of one policy are handled in order."""
    id = update.id if update.part is None else f"{update.id}-{update.part}-{update.parts}"
    return Draft(type=MessageType.POLICY_UPDATE, payload=to_bytes(update), key=f"policy/{update.policy}", id=id)


def attempt_draft(
    kind: str, parent: str, challenger: str | None, reports: int, validation: PolicyValidation | None, why: str = ""
) -> Draft:
    """Return what came of learning, with all figures and the reasons.

    Args:
        kind: `PUBLISHED`, `VALIDATION_FAILED` or `LEARNING_FAILED`.
        parent: the champion.
        challenger: what came of it; None: nothing did.
        reports: how many it learned from.
        validation: how the challenger did; None: it was not validated.
        why: what went wrong before there was a validation.
    """
    data: dict[str, Any] = {"parent": parent, "challenger": challenger, "reports": reports}
    figures: dict[str, float] = {"reports": reports}
    if validation is not None:
        data["failures"] = list(validation.failures)
        figures |= {"passed": float(validation.passed), "mean return": validation.mean_reward, **validation.metrics}
        if validation.baseline_reward is not None:
            figures["champion's mean return"] = validation.baseline_reward
    elif why:
        data["failures"] = [why]
    level = TelemetryLevel.INFO if kind == PUBLISHED else TelemetryLevel.WARNING
    return _draft(kind, data, level, figures)


def promoted_draft(version: str, before: str | None) -> Draft:
    """Return that a version is the champion."""
    return _draft(PROMOTED, {"version": version, "before": before}, TelemetryLevel.INFO)


def refused_draft(version: str, error: RefusedPolicyError) -> Draft:
    """Return that a version was refused, with the reason's name."""
    data = {"version": version, "refusal": str(error.refusal), "failures": [error.why or error.what]}
    return _draft(REFUSED, data, TelemetryLevel.WARNING)


def _draft(
    kind: str, data: Mapping[str, Any], level: TelemetryLevel, figures: Mapping[str, float] | None = None
) -> Draft:
    now = datetime.now(UTC)
    packet = TelemetryPacket(
        id=f"{_SOURCE}-{uuid4().hex}",
        issued_at=now,
        source=_SOURCE,
        level=level,
        metrics=tuple(
            MetricPoint(name=f"simic.{name.replace(' ', '_')}", value=float(value))
            for name, value in sorted((figures or {}).items())
            if isfinite(value)
        ),
        events=(Event(kind=f"{_SOURCE}.{kind}", data=data, sequence=0, time=now.timestamp()),),
    )
    return Draft(type=MessageType.TELEMETRY, payload=to_bytes(TelemetryBatch(packets=(packet,))), key=_SOURCE)
