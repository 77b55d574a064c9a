"""What is known of a run that is watched: kept up to date by its events, in a bounded space."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from esper_app_watch.kept_events import KeptEvents
from esper_core.api import EsperError, EventKind
from esper_runs.board import Board
from esper_runs.event_follower import CHUNK
from esper_runs.formatting import as_number, known
from esper_runs.metrics import MetricReader, event_from_log
from esper_runs.record_tables import GateHistory
from esper_runs.run_directory import EVENTS, MANIFEST, RunDirectory
from esper_runs.run_follower import RunFollower, RunNews
from esper_runs.seed_summaries import SeedSummaries
from esper_runs.timeline import TimelineEvent, timeline_events
from esper_runs.timeline_text import NOTES

#: How much is remembered: epochs of a curve, gates and seeds, and of everything else the newest.
EPOCHS, GATES, SEEDS, NEWEST = 4_096, 300, 500, 300

#: Of a log with more bytes the end is looked at first.
LONG = 8 * CHUNK

#: The curves of a host: a name of `esper_runs.metrics`, and where the number is in an epoch's data.
CURVES: Mapping[str, tuple[str, str]] = {
    f"{split}/{name}": (split, name) for split in ("validation", "train") for name in ("accuracy", "loss")
}

#: What a log of the wrong shape leads to, wherever it is looked at.
UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


Value = TypeVar("Value")


class Series(Generic[Value]):
    """Values by epoch; of more than `EPOCHS` every second one is forgotten, then every second of the rest."""

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}
        self.step = 1

    def put(self, epoch: int, value: Value) -> None:
        """Remember a value."""
        if epoch % self.step:
            return
        self.values[epoch] = value
        if len(self.values) > EPOCHS:
            self.step *= 2
            self.values = {epoch: value for epoch, value in self.values.items() if epoch % self.step == 0}


class RunState:
    """One run, as far as its files have been read.

    Args:
        name: its name, until the manifest says it.
        directory: where it is.

    Attributes:
        manifest, result: what the files hold; None if they could not be read, or are not there.
        board: hosts, slots and the evidence of the last epoch; of the present round, as everything below.
        last_epochs: the last epoch's event of each host.
        curves: by host, and by the name of the metric.
        stages: by host, what `esper_runs.stage_chart` draws of each epoch.
        rewards: the newest rewards of each host, as in a run record.
        findings: numbers that diagnostics found, by host and name.
        modes: the governor's mode of each host, and why.
        gates, seeds, notes, decisions, rounds, events: see their classes; of all rounds.
        finished: data of the event RUN_FINISHED.
        count: events that were read.
        damaged, lost, torn: lines that are none, numbers without an event, and whether the last line is incomplete.
        last_event: seconds since 1970 of the last event; None without events.
        misfits, misfit: how many events of a known kind hold something else than such events do; the last one, and why.
        problems: errors about files.
        left: bytes of the log that are still to be read.
        missing_log: there is no log.
    """

    def __init__(self, name: str, directory: str) -> None:
        self.name, self.directory = name, directory
        self.manifest: Mapping[str, Any] | None = None
        self._seen: Mapping[str, Any] | None = None
        self._unfit_manifest: EsperError | None = None
        self.result: Mapping[str, Any] | None = None
        self.problems: tuple[EsperError, ...] = ()
        self.left = 0
        self.missing_log = True
        self.forget()

    def forget(self) -> None:
        """Forget all events."""
        self.gates, self.seeds, self.events = GateHistory(GATES), SeedSummaries(SEEDS), KeptEvents()
        self.notes: deque[TimelineEvent] = deque(maxlen=NEWEST)
        self.decisions: deque[TimelineEvent] = deque(maxlen=NEWEST)
        self.rounds: deque[Mapping[str, Any]] = deque(maxlen=NEWEST)
        self.finished: Mapping[str, Any] | None = None
        self.last_event: float | None = None
        self.count = self.damaged = self.lost = self.misfits = self.round = 0
        self.torn, self.misfit = False, ""
        self._actions: dict[str, Mapping[str, Any]] = {}
        self._begin_round()

    def _begin_round(self) -> None:
        self.board = Board.of_run(self.manifest or {})
        self.last_epochs: dict[str, Mapping[str, Any]] = {}
        self.curves: dict[str, dict[str, Series[float]]] = {}
        self.stages: dict[str, Series[Mapping[str, Any]]] = {}
        self.rewards: dict[str, deque[Mapping[str, Any]]] = {}
        self.findings: dict[str, dict[str, float]] = {}
        self.modes: dict[str, tuple[str, str]] = {}

    @classmethod
    def glance(cls, directory: RunDirectory) -> "RunState | None":
        """Return what the end of a long log says, which is there at once; None of a log that is not long."""
        path = directory.path / EVENTS
        with suppress(OSError):
            if path.stat().st_size > LONG:
                state, follower = cls(directory.name, str(directory.path)), RunFollower(directory)
                follower.log.skip()
                state.follow(follower)
                state.left = state.lost = 0
                return state
        return None

    def follow(self, follower: RunFollower, most: int = CHUNK) -> None:
        """Take in what has come to the run's files since the last time, of the log at most so many bytes."""
        self.take(follower.read(most))
        self.damaged, self.lost, self.torn = follower.log.damaged, follower.log.lost, follower.log.torn

    def take(self, news: RunNews) -> None:
        """Take in what is new. Nothing is raised for events of the wrong shape: they are counted and named."""
        if news.log.restarted:
            self.forget()
        self.result, self.problems = news.result, news.problems
        if news.manifest is not self._seen:
            self._seen = news.manifest
            self._look_at(news.manifest or {})
        if self._unfit_manifest is not None:
            self.problems += (self._unfit_manifest,)
        self.left, self.missing_log = news.log.left, news.log.missing
        for event in news.log.events:
            self.count += 1
            try:
                self._take(event)
            except UNFIT as error:
                self.misfits += 1
                self.misfit = f"event {event['sequence']} ({event['kind']}): {type(error).__name__}: {error}"

    def _look_at(self, manifest: Mapping[str, Any]) -> None:
        try:
            _check_manifest(manifest)
            fresh = Board.of_run(manifest)
        except UNFIT as error:
            why = f"{type(error).__name__}: {error}"
            self._unfit_manifest = RunDirectory(Path(self.directory)).damaged(MANIFEST, why)
            return
        self.manifest, self._unfit_manifest = manifest, None
        self.name = str(manifest.get("name") or self.name)
        self.board.title, self.board.epochs = fresh.title, fresh.epochs

    def _take(self, event: Mapping[str, Any]) -> None:
        self.events.take(event)
        kind, number = event["kind"], event.get("round") or 0
        if (time := as_number(event.get("time"))) is not None:
            self.last_event = time
        if number > self.round and kind != EventKind.ROUND_FINISHED:
            self.round = number
            self._begin_round()
        if kind == EventKind.EPOCH_COMPLETED:
            self._epoch(event)
        elif kind == EventKind.REWARD_COMPUTED:
            rewards = self.rewards.setdefault(event["host"], deque(maxlen=NEWEST))
            rewards.append({**event["data"], "epoch": event.get("epoch")})
        elif kind == EventKind.ROUND_FINISHED:
            self.rounds.append(event)
        elif kind == EventKind.DIAGNOSED:
            for point in MetricReader({}).points(event):
                self.findings.setdefault(event["host"], {})[point.name] = point.value
        elif kind == EventKind.RUN_FINISHED:
            self.finished = event["data"]
        else:
            self._other(event)

    def _epoch(self, event: Mapping[str, Any]) -> None:
        host, data, epoch = event["host"], event["data"], event["epoch"]
        _check(data)
        self.board.apply(event_from_log(event))
        self.last_epochs[host] = event
        curves = self.curves.get(host)
        if curves is None:
            curves = self.curves[host] = {name: Series() for name in CURVES}
        for name, (split, key) in CURVES.items():
            number = value = (data.get(split) or {}).get(key)
            # Most are floats, and of a long log there are many.
            if type(value) is not float or value != value:
                number = known(value) if key == "accuracy" else as_number(value)
            if number is not None:
                curves[name].put(epoch, number)
        alphas = [{"slot": seed["slot"], "alpha": seed["alpha"]} for seed in data.get("seeds", ())]
        self.stages.setdefault(host, Series()).put(epoch, {"epoch": epoch, "slots": data["slots"], "seeds": alphas})
        if data.get("gates"):
            for happened in timeline_events(event, {}, {}):
                self.gates.take(happened)

    def _other(self, event: Mapping[str, Any]) -> None:
        kind, data = event["kind"], event["data"]
        if kind == EventKind.ACTION_DECIDED:
            # A denial comes right behind the decision.
            self._actions[event["host"]] = data
        if kind in (EventKind.SEED_TRANSITION, EventKind.ROLLBACK):
            self.board.apply(event_from_log(event))
        if kind == EventKind.GOVERNOR_INTERVENED:
            self.modes[event["host"]] = str(data["mode"]), str(data["reason"] or "")
        self.seeds.take(event)
        for happened in timeline_events(event, self._asked(event), {}):
            self.gates.take(happened)
            if kind in NOTES or kind == EventKind.ACTION_DENIED:
                self.notes.append(happened)
            if kind in (EventKind.ACTION_DECIDED, EventKind.ACTION_DENIED):
                self.decisions.append(happened)

    def _asked(self, event: Mapping[str, Any]) -> Mapping[str | None, Mapping[str, Any]]:
        action = self._actions.get(event["host"])
        return {str(action.get("id")): action} if action is not None else {}

    def stamp(self) -> tuple[object, ...]:
        """Return what differs whenever something else is known."""
        files = (id(self.manifest), id(self.result), tuple(map(str, self.problems)))
        return (id(self), *files, id(self.events), self.count, self.damaged, self.torn, self.missing_log)

    def last_evidence(self) -> dict[str, Mapping[str, Any]]:
        """Return the data of the last epoch of each host."""
        return {host: event["data"] for host, event in self.last_epochs.items()}

    def figures(self) -> Iterator[tuple[str, str, float]]:
        """Yield host, name and value of every number of the last epochs, as `esper_runs.metrics` has them."""
        reader = MetricReader(self.manifest or {})
        for event in sorted(self.last_epochs.values(), key=lambda event: int(event["sequence"])):
            for point in reader.points(event):
                yield point.host, point.name, point.value


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest of another shape, as far as it is looked at. Raises TypeError."""
    config = manifest.get("config") or {}
    sections = [config, manifest.get("training") or {}]
    sections += [config.get(name) or {} for name in ("task", "host", "policy", "sinks")]
    if not all(isinstance(section, dict) for section in sections):
        raise TypeError("a section of it is no object")
    if not isinstance(config.get("epochs"), int | None):
        raise TypeError("the number of epochs is none")


def _check(epoch: Mapping[str, Any]) -> None:
    """Refuse an epoch of another shape before anything of it is taken in. Raises LookupError, TypeError."""
    parts = [epoch.get(name) or {} for name in ("train", "validation", "compute", "gates")]
    parts += [epoch["slots"], *epoch.get("seeds", ())]
    if not all(isinstance(part, dict) for part in parts):
        raise TypeError("a part of it is no object")
    for seed in epoch.get("seeds", ()):
        if not isinstance(seed["seed_id"], str) or not isinstance(seed["slot"], str):
            raise TypeError("a seed or a slot has no name")
