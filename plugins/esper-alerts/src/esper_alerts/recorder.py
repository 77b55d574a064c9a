"""From events to the values of metrics."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from esper_alerts.catalogue import CATALOGUE, exported_name
from esper_alerts.series import Series
from esper_core.api import Z_95, Cause, Event, EventKind, GovernorMode, Op
from esper_runs.formatting import as_number
from esper_runs.metrics import MetricReader

#: How a run that came to no end is said to have ended.
BROKEN_OFF = "broken-off"

_MODES = {str(mode): float(strictness) for strictness, mode in enumerate(GovernorMode)}
_PLACES = ("sink", "observer", "diagnostic")
_CONTRIBUTING = ("BLENDING", "PROBATIONARY")
_OF_SEEDS = tuple(name for name, it in CATALOGUE.items() if "slot" in it.labels or "stage" in it.labels[2:3])

#: Epochs with which one is compared, and how many there must be.
_BEFORE, _FEWEST = 20, 3


class Recorder:
    """Keeps the values of a run's metrics; it must be shown the events in order.

    Args:
        series: where the values are.
        manifest: the run's manifest.
        clock: seconds since 1970.
    """

    def __init__(self, series: Series, manifest: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._series = series
        self._clock = clock
        self._reader = MetricReader(manifest)
        self._hosts: set[str] = set()
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_BEFORE))
        self._ended = False
        self._takes: dict[str, Callable[[Event], None]] = {
            EventKind.EPOCH_COMPLETED: self._epoch,
            EventKind.ACTION_DECIDED: self._decided,
            EventKind.ACTION_DENIED: lambda event: series.add("esper_actions_denied_total", event.host),
            EventKind.SEED_TRANSITION: self._transition,
            EventKind.SEED_FINISHED: self._seed_finished,
            EventKind.GOVERNOR_INTERVENED: self._governor,
            EventKind.PLUGIN_FAILED: self._plugin_failed,
            EventKind.ROUND_FINISHED: lambda _: series.add("esper_rounds_total"),
            EventKind.RUN_FINISHED: self._finished,
        }
        self._open(manifest)

    def take(self, events: Sequence[Event]) -> None:
        """Count events; a scrape sees all of them or none."""
        with self._series.lock:
            for event in events:
                self._take(event)

    def end(self) -> None:
        """Say that the run is over; without its last event it has broken off."""
        if not self._ended:
            self._over(BROKEN_OFF)

    def _open(self, manifest: Mapping[str, Any]) -> None:
        series, config = self._series, manifest.get("config") or {}
        task = config.get("task") or {}
        with series.lock:
            series.set("esper_run_info", 1.0, str(task.get("name") or ""), str(manifest.get("seed")))
            series.set("esper_run_active", 1.0)
            series.set("esper_run_opened_timestamp_seconds", self._clock())
            series.set("esper_last_event_timestamp_seconds", self._clock())
            if (epochs := as_number(config.get("epochs"))) is not None:
                series.set("esper_run_epochs_planned", epochs)
            series.add("esper_rounds_total", amount=0)
            for place in _PLACES:
                series.add("esper_plugin_failures_total", place, amount=0)

    def _take(self, event: Event) -> None:
        series = self._series
        series.add("esper_events_total", event.kind)
        series.set("esper_last_event_timestamp_seconds", event.time)
        series.observe("esper_event_lag_seconds", max(0.0, self._clock() - event.time))
        if event.host and event.host not in self._hosts:
            self._begin_host(event.host)
        if event.kind is EventKind.EPOCH_COMPLETED:
            series.forget(_OF_SEEDS, event.host)
        for point in self._reader.points(event):
            name = exported_name(point.metric)
            series.set(name, point.value, point.host, *(point.labels[it] for it in CATALOGUE[name].labels[2:]))
        if event.kind in self._takes:
            self._takes[event.kind](event)

    def _begin_host(self, host: str) -> None:
        """Let counters begin at 0: Prometheus sees no increase in one that begins at 1."""
        self._hosts.add(host)
        series = self._series
        for name in ("slow", "compared", "behind"):
            series.add(f"esper_epochs_{name}_total", host, amount=0)
        for name in ("isolation_violations", "actions_denied", "governor_interventions", "epochs"):
            series.add(f"esper_{name}_total", host, amount=0)
        for finite in ("yes", "no"):
            series.add("esper_losses_total", host, finite, amount=0)
        for op in Op:
            series.add("esper_actions_total", host, op.name, amount=0)
        for cause in Cause:
            series.add("esper_seeds_culled_total", host, cause, amount=0)
        series.set("esper_governor_mode", 0.0, host)

    def _epoch(self, event: Event) -> None:
        series, host, data = self._series, event.host, event.data
        series.add("esper_epochs_total", host)
        series.set("esper_epoch", self._reader.step(event), host)
        for split in ("train", "validation"):
            loss = as_number((data.get(split) or {}).get("loss"))
            if loss is not None:
                series.add("esper_losses_total", host, "yes" if isfinite(loss) else "no")
        if (seconds := as_number((data.get("train") or {}).get("seconds"))) is not None:
            self._took(host, seconds)
        for verdicts in (data.get("gates") or {}).values():
            for verdict in verdicts:
                passed = "yes" if verdict.get("passed") else "no"
                series.add("esper_gate_verdicts_total", host, str(verdict.get("gate")), passed)
        self._seeds(host, data.get("seeds") or ())

    def _took(self, host: str, seconds: float) -> None:
        self._series.observe("esper_epoch_train_seconds", seconds, host)
        before = self._seconds[host]
        if len(before) >= _FEWEST and seconds > 2 * median(before):
            self._series.add("esper_epochs_slow_total", host)
        before.append(seconds)

    def _seeds(self, host: str, seeds: Sequence[Mapping[str, Any]]) -> None:
        series = self._series
        stages = [str(seed.get("stage")) for seed in seeds]
        for stage in set(stages):
            series.set("esper_stage_seeds", float(stages.count(stage)), host, stage)
        contributing = [seed for seed in seeds if seed.get("stage") in _CONTRIBUTING]
        series.set("esper_seeds_contributing", float(len(contributing)), host)
        series.set("esper_seeds_measured", float(sum(it.get("contribution") is not None for it in contributing)), host)
        violations = sum(seed.get("isolated") is False for seed in seeds)
        series.add("esper_isolation_violations_total", host, amount=violations)
        gains = [seed["host_gain"] for seed in seeds if seed.get("host_gain")]
        if gains:  # the same for every seed: it is the whole network's
            series.add("esper_epochs_compared_total", host)
            mean, error = as_number(gains[0].get("mean")), as_number(gains[0].get("standard_error"))
            if mean is not None and error is not None and mean + Z_95 * error < 0:
                series.add("esper_epochs_behind_total", host)

    def _decided(self, event: Event) -> None:
        self._series.add("esper_actions_total", event.host, str(event.data.get("op")))

    def _transition(self, event: Event) -> None:
        target = str(event.data.get("target"))
        self._series.add("esper_seed_transitions_total", event.host, target)
        if target == "CULLED":
            self._series.add("esper_seeds_culled_total", event.host, str(event.data.get("cause")))

    def _seed_finished(self, event: Event) -> None:
        blueprint, stage = str(event.data.get("blueprint")), str(event.data.get("final_stage"))
        self._series.add("esper_seeds_finished_total", event.host, blueprint, stage)

    def _governor(self, event: Event) -> None:
        self._series.add("esper_governor_interventions_total", event.host)
        mode = _MODES.get(str(event.data.get("mode")))
        if mode is not None:
            self._series.set("esper_governor_mode", mode, event.host)

    def _plugin_failed(self, event: Event) -> None:
        self._series.add("esper_plugin_failures_total", str(event.data.get("place")))

    def _finished(self, event: Event) -> None:
        self._over(str(event.data.get("outcome")))

    def _over(self, outcome: str) -> None:
        self._ended = True
        with self._series.lock:
            self._series.set("esper_run_active", 0.0)
            self._series.set("esper_run_outcome", 1.0, outcome)
