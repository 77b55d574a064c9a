"""The record of one run, read from its directory alone: what was planned, what happened, and how it ended."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_runs.event_log import EventLog, read_event_log
from esper_runs.missing_data import missing_data
from esper_runs.reading import parse_object, read_regular, reading
from esper_runs.result import UNFINISHED, is_twin
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, RunDirectory
from esper_runs.seed_summaries import seed_summaries
from esper_runs.timeline import TimelineEvent, timeline
from esper_runs.verdict import RunVerdict, verdict


@frozen(kw_only=True)
class RunRecord:
    """One run. Epochs are counted from 0, accuracies are 0 to 1, losses in nats, as in the files.

    Attributes:
        name: the run's name.
        directory: where it is.
        manifest: what is in ``manifest.json``.
        outcome: ``completed``, ``interrupted``, ``stopped`` or ``unfinished``.
        last_event: seconds since 1970 of the last event; None without events.
        epochs: data of the host's EPOCH_COMPLETED events, oldest first, by host.
        rewards: ``epoch``, ``terms`` and ``total`` of the REWARD_COMPUTED events, oldest first, by host.
        timeline: everything else that happened, oldest first.
        seeds: the field report of every seed, oldest first, with its `host`; as last measured.
        result: what is in ``result.json``; None for a run that is not over.
        verdict: what the result says about growing; None for a run that is not over.
        missing_data: what is missing from the files and why, in sentences.
    """

    name: str
    directory: str
    manifest: Mapping[str, Any]
    outcome: str
    last_event: float | None = None
    epochs: Mapping[str, tuple[Mapping[str, Any], ...]] = field(factory=dict)
    rewards: Mapping[str, tuple[Mapping[str, Any], ...]] = field(factory=dict)
    timeline: tuple[TimelineEvent, ...] = ()
    seeds: tuple[Mapping[str, Any], ...] = ()
    result: Mapping[str, Any] | None = None
    verdict: RunVerdict | None = None
    missing_data: tuple[str, ...] = ()

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration."""
        found: Mapping[str, Any] = self.manifest.get("config") or {}
        return found

    @property
    def growing(self) -> tuple[str, ...]:
        """The hosts that may grow, all but the twin."""
        known = [*self.epochs, *(self.result or {}).get("hosts", {})]
        return tuple(dict.fromkeys(name for name in known if not is_twin(name)))

    @property
    def epochs_done(self) -> int:
        """How many epochs the growing hosts have completed, as far as the files show."""
        hosts = (self.result or {}).get("hosts", {})
        ends = [host["epochs"] for name, host in hosts.items() if not is_twin(name)]
        return max([*ends, *(self.epochs[n][-1]["epoch"] + 1 for n in self.growing if self.epochs.get(n))], default=0)

    def slots(self, host: str) -> tuple[str, ...]:
        """The host's slots in site order; none if no epoch was logged."""
        return tuple(self.epochs[host][-1]["slots"]) if self.epochs.get(host) else ()


@frozen(kw_only=True)
class Selection:
    """A part of a run record.

    Attributes:
        slot: this slot only.
        seed_id: this seed only.
        first, last: these epochs only, from 0, both included; None is not a bound.
    """

    slot: str | None = None
    seed_id: str | None = None
    first: int | None = None
    last: int | None = None

    def holds_epoch(self, epoch: int | None) -> bool:
        """Say whether an epoch belongs to the part; what happens outside of epochs belongs to every part."""
        after = epoch is None or self.first is None or epoch >= self.first
        return after and (epoch is None or self.last is None or epoch <= self.last)

    def holds(self, event: TimelineEvent) -> bool:
        """Say whether an event belongs to the part."""
        return (
            self.holds_epoch(event.epoch) and self.slot in (None, event.slot) and self.seed_id in (None, event.seed_id)
        )


def read_run_record(directory: RunDirectory, read_log: Callable[[Path], EventLog | None] | None = None) -> RunRecord:
    """Read a run, finished or not. Imports neither torch nor plugins.

    Args:
        directory: the run.
        read_log: reads its log, and may raise OSError; None: all of it. `log_follower` reads only what is new.

    Raises:
        EsperError: E508 if the manifest or the result cannot be read.
    """
    manifest = _object(directory.path / MANIFEST)
    log = _read_log(directory.path / EVENTS, read_log or _whole_log)
    result = _result(directory.path, manifest, log)
    with reading(f'run "{directory.name}"', directory.path):
        return _record(directory, manifest, log, result)


def select(record: RunRecord, part: Selection) -> RunRecord:
    """Return the part of a run record. Epochs of other slots stay: they are those of the whole network."""
    chosen = [
        seed for seed in record.seeds if part.slot in (None, seed["slot"]) and part.seed_id in (None, seed["seed_id"])
    ]
    return evolve(
        record,
        epochs={
            host: tuple(data for data in epochs if part.holds_epoch(data["epoch"]))
            for host, epochs in record.epochs.items()
        },
        rewards={
            host: tuple(reward for reward in rewards if part.holds_epoch(reward["epoch"]))
            for host, rewards in record.rewards.items()
        },
        timeline=tuple(event for event in record.timeline if part.holds(event)),
        seeds=tuple(chosen),
    )


def _record(
    directory: RunDirectory, manifest: Mapping[str, Any], log: EventLog | None, result: Mapping[str, Any] | None
) -> RunRecord:
    events = log.events if log else ()
    epochs = _epochs(events)
    return RunRecord(
        name=str(manifest.get("name", directory.name)),
        directory=str(directory.path),
        manifest=manifest,
        outcome=str(result["outcome"]) if result else UNFINISHED,
        last_event=events[-1].get("time") if events else None,
        epochs=epochs,
        rewards=_rewards(events),
        timeline=timeline(events),
        seeds=tuple(result["seeds"]) if result else seed_summaries(events, epochs),
        result=result,
        verdict=None if result is None else verdict(result),
        missing_data=missing_data(manifest, log, result),
    )


def _object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        EsperError: E508 if it cannot be read or holds something else.
    """
    try:
        return parse_object(read_regular(path, inside=path.parent))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise EsperError("E508", f'"{path.name}" cannot be read', where=str(path), why=why) from error


def _whole_log(path: Path) -> EventLog | None:
    return read_event_log(path, inside=path.parent)


def _read_log(path: Path, read_log: Callable[[Path], EventLog | None]) -> EventLog | None:
    try:
        return read_log(path)
    except OSError as error:
        raise EsperError("E508", f'"{path.name}" cannot be read', where=str(path), why=error.strerror) from error


def _result(folder: Path, manifest: Mapping[str, Any], log: EventLog | None) -> Mapping[str, Any] | None:
    """The result that stands, or the one in the log, where the file has not been written yet."""
    finished = [e["data"] for e in (log.events if log else ()) if e["kind"] == EventKind.RUN_FINISHED]
    goes_on = is_going_on_again(manifest, len(log.events) if log else 0, bool(finished))
    if os.path.lexists(folder / RESULT) and not goes_on:
        return _checked(_object(folder / RESULT), folder / RESULT)
    return finished[-1] if finished else None


def is_going_on_again(manifest: Mapping[str, Any], events: int, finished: bool) -> bool:
    """Say whether a run was resumed, and a result that is there is that of before.

    Args:
        manifest: the run's manifest.
        events: how many events are in its log.
        finished: the log says that the run is over.
    """
    return bool(manifest.get("resumed")) and events > 0 and not finished


def _checked(result: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if missing := {"outcome", "hosts", "seeds"} - result.keys():
        why = f"it lacks {', '.join(sorted(missing))}"
        raise EsperError("E508", f'"{path.name}" is not the result of a run', where=str(path), why=why)
    return result


def _epochs(events: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event["kind"] == EventKind.EPOCH_COMPLETED:
            found.setdefault(event["host"], []).append(event["data"])
    return {host: tuple(epochs) for host, epochs in found.items()}


def _rewards(events: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event["kind"] == EventKind.REWARD_COMPUTED:
            found.setdefault(event["host"], []).append({**event["data"], "epoch": event.get("epoch")})
    return {host: tuple(rewards) for host, rewards in found.items()}
