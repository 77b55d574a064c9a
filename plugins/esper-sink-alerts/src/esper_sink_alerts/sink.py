"""Says while a run goes on that a person should look at it: in the run's own events, and through a webhook."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from esper_alerts.engine import AlertChange, AlertState
from esper_alerts.live_alerts import LiveAlerts
from esper_core.api import EsperError, Event, EventKind
from esper_runs.names import safe_name
from esper_runs.reading import parse_json, read_regular
from esper_sink_alerts.config import AlertsConfig
from esper_sink_alerts.notification import body, notifications
from esper_sink_alerts.sender import Notification, Sender
from esper_sink_alerts.webhook import Webhook

URL, TOKEN = "ESPER_ALERTS_WEBHOOK", "ESPER_ALERTS_TOKEN"

#: Seconds for which an event may be on its way here: where nothing arrives, that is how late alerts are evaluated.
GRACE = 30.0

#: Seconds that the end of a run waits for the webhook.
_PATIENCE = 10.0

#: Levels at which a run that goes on looks like one that hangs.
_TOO_LITTLE = ("off", "minimal")

#: How an alert begins in a log of events.
_BEGIN = b'{"kind": "alert"'


class AlertsSink:
    """A sink that evaluates alerts, and adds what it finds to the run's events.

    Args:
        config: how often, and where alerts are posted.
        clock: seconds since 1970.
    """

    def __init__(self, config: AlertsConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._tell: Callable[[Event], None] | None = None
        self._live: LiveAlerts | None = None
        self._sender: Sender | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._epochs: dict[str, tuple[str, int | None, int]] = {}

    def connect(self, tell: Callable[[Event], None]) -> None:
        """Learn how to add an event to the run."""
        self._tell = tell

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin to watch a run. What fires when it goes on is what fired at that point of its log.

        Raises:
            EsperError: E504 if the webhook is no address that can be used, or the run leaves out the events of epochs.
        """
        level = str((manifest.get("config") or {}).get("telemetry"))
        if level.lower() in _TOO_LITTLE:
            what = 'the sink "alerts" needs the events of epochs'
            raise EsperError("E504", what, why=f'the level of telemetry is "{level}"', fix='set telemetry to "normal"')
        url = self._config.webhook or os.environ.get(URL)
        if url:
            config = self._config
            webhook = Webhook(url, os.environ.get(TOKEN), config.webhook_timeout, config.webhook_attempts)
            self._sender = Sender(webhook, lambda *lost: self._say_lost(webhook.where, *lost))
        self._live = LiveAlerts(manifest, self._config.interval, self._clock(), self._clock)
        if manifest.get("directory") is not None and manifest.get("resumed_at") is not None:
            _restore(self._live, Path(manifest["directory"]).absolute(), manifest["resumed_at"])
        self._closing = threading.Event()
        threading.Thread(target=self._watch, args=[self._closing], name="esper-alerts", daemon=True).start()

    def emit(self, events: Sequence[Event]) -> None:
        """Take events, and evaluate what is due.

        Raises:
            RuntimeError: before `open` and after `close`.
        """
        with self._lock:
            if self._live is None:
                raise RuntimeError('the sink "alerts" is not open')
            for event in events:
                self._say(self._live.take([event]))
                if event.kind is EventKind.EPOCH_COMPLETED:
                    self._epochs[safe_name(event.host)] = event.host, event.epoch, event.round

    def flush(self) -> None:
        """Do nothing: what was found is told already."""

    def close(self) -> None:
        """Wait a while for the webhook; a second call does nothing.

        Raises:
            OSError: if the webhook has not taken every alert.
        """
        self._closing.set()
        with self._lock:
            self._live = None
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(_PATIENCE)
            if sender.lost:
                raise OSError(f"the webhook has not taken {sender.lost} of {sender.lost + sender.taken} notifications")

    def _watch(self, closing: threading.Event) -> None:
        """Evaluate by the clock as well: in a training that hangs there are no events."""
        while not closing.wait(self._config.interval):
            with self._lock, suppress(RuntimeError):
                if self._live is not None and not closing.is_set():
                    self._say(self._live.until(self._clock() - GRACE))

    def _say(self, changes: Sequence[AlertChange]) -> None:
        if self._sender is not None:
            for it in notifications(changes):
                self._sender.put(Notification(f"{it['groupLabels']['alertname']} ({it['status']})", body(it)))
        for change in changes:
            self._add(self._event(change))

    def _say_lost(self, where: str, notification: Notification, why: str) -> None:
        message = f"the webhook at {where} has not taken the alert {notification.about}: {why}"
        with suppress(RuntimeError):
            self._add(Event(kind=EventKind.NOTICE, data={"message": message}))

    def _add(self, event: Event) -> None:
        if self._tell is not None:
            self._tell(event)

    def _event(self, it: AlertChange) -> Event:
        host, epoch, round_ = self._epochs.get(it.labels.get("host", ""), ("", None, 0))
        data = {
            "name": it.alert.name,
            "state": str(it.state),
            "severity": it.alert.severity,
            "labels": dict(it.labels),
            "value": it.value if isfinite(it.value) else None,
            "since": it.since,
            "when": it.alert.when,
            "summary": it.alert.summary_of(it.labels),
            "advice": it.alert.advice,
        }
        return Event(kind=EventKind.ALERT, host=host, epoch=epoch, round=round_, data=data)


def _restore(live: LiveAlerts, directory: Path, resumed_at: int) -> None:
    """Let fire what fires in a log before an event; where there is no log, nothing does."""
    try:
        content = read_regular(directory / "events.jsonl", inside=directory)
    except OSError:
        return
    firing: dict[tuple[str, frozenset[tuple[str, str]]], tuple[float, float]] = {}
    for line in content.split(b"\n"):
        if not line.startswith(_BEGIN):
            continue
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # a line that was cut off
            event = parse_json(line.decode())
            data = event["data"]
            key = str(data["name"]), frozenset((str(name), str(text)) for name, text in data["labels"].items())
            if event["sequence"] >= resumed_at:
                continue
            firing.pop(key, None)
            if data["state"] == AlertState.FIRING:
                firing[key] = float(data["since"]), float(data["value"] or 0.0)
    for (name, labels), (since, value) in firing.items():
        live.engine.restore(name, dict(labels), since, value)
