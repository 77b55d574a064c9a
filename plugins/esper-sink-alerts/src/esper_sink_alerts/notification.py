"""What is posted about alerts: the body of Alertmanager's webhooks, version 4."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from esper_alerts.engine import AlertChange, AlertState

#: When an alert ends of which that is not known.
_NEVER = "0001-01-01T00:00:00Z"

_OFFSET, _PRIME = 0xCBF29CE484222325, 0x100000001B3


def notifications(changes: Sequence[AlertChange]) -> Iterator[dict[str, Any]]:
    """Yield one body for each alert and state among changes, as Alertmanager groups by ``alertname``."""

    def group(it: AlertChange) -> tuple[str, str]:
        return it.alert.name, str(it.state)

    for (name, state), members in groupby(sorted(changes, key=group), key=group):
        alerts = [_alert(it) for it in members]
        yield {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{name}"}}',
            "truncatedAlerts": 0,
            "status": state,
            "receiver": "esper",
            "groupLabels": {"alertname": name},
            "commonLabels": _common([it["labels"] for it in alerts]),
            "commonAnnotations": _common([it["annotations"] for it in alerts]),
            "externalURL": "",
            "alerts": alerts,
        }


def body(notification: Mapping[str, Any]) -> bytes:
    """Return a notification as JSON in ASCII: whatever a label holds is escaped."""
    return json.dumps(notification, ensure_ascii=True, allow_nan=False).encode("ascii")


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return what tells alerts apart: as Prometheus has it, FNV-1a with 64 bits over labels in the order of names."""
    found = _OFFSET
    for name in sorted(labels):
        for byte in b"%s\xff%s\xff" % (_bytes(name), _bytes(labels[name])):
            found = ((found ^ byte) * _PRIME) % (1 << 64)
    return f"{found:016x}"


def _alert(it: AlertChange) -> dict[str, Any]:
    labels = {**it.labels, "alertname": it.alert.name, "severity": it.alert.severity}
    annotations = {
        "summary": it.alert.summary_of(it.labels),
        "description": it.alert.advice,
        "when": it.alert.when,
        "value": f"{it.value:.6g}",
    }
    return {
        "status": str(it.state),
        "labels": labels,
        "annotations": annotations,
        "startsAt": _moment(it.since),
        "endsAt": _moment(it.time) if it.state is AlertState.RESOLVED else _NEVER,
        "generatorURL": "",
        "fingerprint": fingerprint(labels),
    }


def _common(texts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *rest = texts
    return {name: value for name, value in first.items() if all(it.get(name) == value for it in rest)}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
