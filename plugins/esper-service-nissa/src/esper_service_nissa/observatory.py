"""All runs on a bus at once: metrics, alerts and objectives of each by itself, and how the sources are."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define
from prometheus_client import CollectorRegistry, Counter, Gauge

from esper_alerts.collector import SeriesCollector
from esper_alerts.engine import AlertState
from esper_alerts.live_alerts import LiveAlerts
from esper_alerts.objectives import OBJECTIVES
from esper_alerts.series import Series
from esper_core.api import Event, EventKind
from esper_leyline_proto.commands import AdaptationCommand, EmergencySignal
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.state import SystemStatePacket
from esper_leyline_proto.telemetry import HealthStatus, TelemetryBatch, TelemetryPacket
from esper_runs.names import safe_name
from esper_service_nissa.ledger import Ledger
from esper_service_nissa.messages import run_events, run_id

#: Seconds for which an event may be on its way: where nothing arrives, that is how late alerts are evaluated.
GRACE = 30.0

#: Runs that are over and are still shown, runs that are not and are still watched, and series of what packets say in
#: figures. A run that was killed is never over: those that have been silent for longest are forgotten.
_FINISHED, _WATCHED, _FIGURES = 20, 100, 2_000

M = TypeVar("M", Counter, Gauge)


@define(eq=False)
class _Watched:
    """A run. `next` is the number of the event that has not been counted."""

    name: str
    live: LiveAlerts
    next: int = 0
    over: bool = False


class Observatory:
    """Counts all that it hears. It may be used by several threads.

    Args:
        ledger: knows the runs that began earlier.
        interval: seconds between two evaluations of a run's alerts.
        clock: seconds since 1970.

    Attributes:
        registry: all metrics, of all runs.
    """

    def __init__(self, ledger: Ledger, interval: float, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._ledger, self._interval, self._clock = ledger, interval, clock
        self._lock = threading.RLock()
        self._runs: dict[str, _Watched] = {}
        self._sources: dict[tuple[str, str], HealthStatus] = {}
        self._figures: set[tuple[str, ...]] = set()
        # What there is of each run by its name, to be forgotten with it.
        self._of_runs: dict[str, set[tuple[Counter | Gauge, tuple[str, ...]]]] = {}
        self.registry.register(SeriesCollector(self._series))

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(name, meaning, labels, registry=self.registry)

        self._messages = counter("esper_nissa_messages", "Messages by type.", "type")
        self._packets = counter("esper_nissa_packets", "Packets of telemetry by source.", "source")
        self._missing = counter("esper_nissa_events_missing", "Events of runs that were never heard.", "run")
        self._states = counter("esper_nissa_states", "States of hosts.", "run", "host")
        self._commands = counter("esper_nissa_commands", "What was asked of hosts.", "run", "op", "allowed")
        self._reports = counter("esper_nissa_field_reports", "Reports of seeds by final stage.", "run", "stage")
        self._emergencies = counter("esper_nissa_emergencies", "Emergency signals.", "level", "origin")
        self._health = gauge("esper_source_health", "1 healthy, 2 degraded, 3 unhealthy, 4 critical.", "source", "run")
        self._figure = gauge("esper_packet_figure", "What a packet says in figures.", "source", "run", "name", "about")
        self._firing = gauge("esper_nissa_alerts_firing", "Alerts that fire.", "run")

    def hear(self, record: Any, envelope: Envelope) -> None:
        """Count what a message says."""
        with self._lock:
            self._messages.labels(envelope.type.name.lower()).inc()
            if isinstance(record, TelemetryBatch):
                for packet in record.packets:
                    self._packet(packet)
                if events := run_events(record):
                    self._events(run_id(envelope), events)
            elif isinstance(record, SystemStatePacket):
                self._of(record.run, self._states, safe_name(record.host)).inc()
            elif isinstance(record, AdaptationCommand):
                allowed = "unknown" if record.verdict is None else "yes" if record.verdict.allowed else "no"
                self._of(record.run, self._commands, record.action.op.name.lower(), allowed).inc()
            elif isinstance(record, FieldReportPacket):
                for seed in record.seeds:
                    self._of(record.run, self._reports, str(seed.final_stage)).inc()
            elif isinstance(record, EmergencySignal):
                self._emergencies.labels(record.level.name.lower(), safe_name(record.origin)).inc()

    def look(self) -> None:
        """Evaluate by the clock as well: in a run that hangs there are no events."""
        with self._lock:
            for id, run in self._runs.items():
                if not run.over:
                    self._changed(id, run, run.live.until(self._clock() - GRACE))

    def alerts(self) -> dict[str, Any]:
        """Return what is pending or firing, how fast error budgets burn, and sources that are not well."""
        with self._lock:
            return {
                "alerts": [it for run in self._runs.values() for it in _alerts(run)],
                "objectives": [it for run in self._runs.values() for it in _burns(run)],
                "sources": [
                    {"source": source, "run": run, "health": status.name.lower()}
                    for (source, run), status in sorted(self._sources.items())
                ],
            }

    def figures(self) -> dict[str, float]:
        """Return how much there is."""
        with self._lock:
            firing = [it for run in self._runs.values() for it in _alerts(run) if it["state"] == AlertState.FIRING]
            active = sum(not it.over for it in self._runs.values())
            return {"runs": float(len(self._runs)), "active_runs": float(active), "alerts_firing": float(len(firing))}

    def _packet(self, packet: TelemetryPacket) -> None:
        source, run = safe_name(packet.source), safe_name(packet.run) if packet.run else ""
        self._packets.labels(source).inc()
        if packet.health is not None:
            # Only what the same source says of the same run takes it back.
            self._sources[source, run] = packet.health.status
            self._health.labels(source, run).set(packet.health.status)
        for point in packet.metrics:
            about = ",".join(f"{name}={text}" for name, text in sorted(point.attributes.items()))
            key = source, run, safe_name(point.name), safe_name(about) if about else ""
            if key in self._figures or len(self._figures) < _FIGURES:
                self._figures.add(key)
                self._figure.labels(*key).set(point.value)

    def _events(self, id: str, events: Sequence[Event]) -> None:
        run = self._run(id, events)
        # What a resumed run says once more was counted.
        new = [it for it in events if it.sequence >= run.next]
        if not new:
            return
        if (missing := new[-1].sequence + 1 - run.next - len(new)) > 0:
            self._of(run.name, self._missing).inc(missing)
        run.next = new[-1].sequence + 1
        run.over = any(it.kind == EventKind.RUN_FINISHED for it in new)
        self._changed(id, run, run.live.take(new))

    def _run(self, id: str, events: Sequence[Event]) -> _Watched:
        first = events[0]
        if first.kind == EventKind.RUN_STARTED:
            self._ledger.begin_run(id, first.data)
        if id not in self._runs:
            manifest = self._ledger.manifest(id) or {"name": first.run}
            live = LiveAlerts(manifest, self._interval, first.time, self._clock)
            for name, labels, since, value in self._ledger.firing(id):
                live.engine.restore(name, labels, since, value)
            self._runs[id] = _Watched(str(manifest.get("name")), live, next=first.sequence)
            for over, most in ((True, _FINISHED), (False, _WATCHED)):
                found = [other for other, it in self._runs.items() if it.over is over]
                for other in found[: max(0, len(found) - most)]:
                    self._forget(other)
        # The one that was heard last comes last.
        self._runs[id] = self._runs.pop(id)
        return self._runs[id]

    def _of(self, run: str, metric: M, *more: str) -> M:
        """Return the series of a run in a metric whose first label is the run."""
        name = safe_name(run)
        self._of_runs.setdefault(name, set()).add((metric, (name, *more)))
        return metric.labels(name, *more)

    def _forget(self, id: str) -> None:
        name = self._runs.pop(id).name
        if all(it.name != name for it in self._runs.values()):
            for metric, labels in self._of_runs.pop(safe_name(name), ()):
                metric.remove(*labels)

    def _changed(self, id: str, run: _Watched, changes: Sequence[object]) -> None:
        if changes:
            firing = [*run.live.engine.firing()]
            self._ledger.set_firing(id, firing)
            self._of(run.name, self._firing).set(len(firing))

    def _series(self) -> list[Series]:
        with self._lock:
            return [*{it.name: it.live.series for it in self._runs.values()}.values()]


def _alerts(run: _Watched) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "name": alert.name,
            "state": str(state),
            "severity": alert.severity,
            "labels": dict(labels),
            "summary": alert.summary_of(labels),
            "advice": alert.advice,
        }
        for alert, labels, state in run.live.engine.active()
    ]


def _burns(run: _Watched) -> list[dict[str, Any]]:
    """How many times too fast each objective's error budget is used up, over each window."""
    targets = {it.name: it.target for it in OBJECTIVES}
    burns: dict[str, dict[str, float]] = {}
    for sample in run.live.recorded():
        slo = dict(sample.labels).get("slo", "")
        if slo in targets:
            window = sample.name.rpartition("rate")[2]
            burns.setdefault(slo, {})[window] = sample.value / (1 - targets[slo])
    return [{"run": run.name, "objective": slo, "target": targets[slo], "burn": it} for slo, it in burns.items()]
