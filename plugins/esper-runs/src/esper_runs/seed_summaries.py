"""Summaries of the seeds of an unfinished run, made from its events as the run itself makes them at its end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Stage
from esper_runs.formatting import known


def seed_summaries(
    events: Iterable[Mapping[str, Any]], epochs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the field report of every seed, as last measured, oldest first; `ended_epoch` is None while it is live.

    Args:
        events: the run's events.
        epochs: data of every host's completed epochs, oldest first.
    """
    found = SeedSummaries()
    for event in events:
        found.take(event)
    return found.summaries({host: completed[-1] for host, completed in epochs.items() if completed})


class SeedSummaries:
    """The seeds of a run that is read event by event.

    Args:
        most: how many seeds it remembers; of those that have ended the oldest are forgotten. None: all of them.
    """

    def __init__(self, most: int | None = None) -> None:
        self._summaries: dict[tuple[str, str], dict[str, Any]] = {}
        self._most = most

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event in."""
        host, data, summaries = event["host"], event["data"], self._summaries
        if event["kind"] == EventKind.SEED_TRANSITION:
            summary = summaries.get((host, data["seed_id"]))
            if summary is None:
                summary = summaries[host, data["seed_id"]] = _begun(host, data)
            _move(summary, data)
            self._forget()
        elif event["kind"] == EventKind.SEED_FINISHED:
            summaries[host, data["seed_id"]] = {"host": host, **data}
            self._forget()
        elif event["kind"] == EventKind.ROLLBACK:
            # The newest seed of a slot is the one that it holds.
            newest = {summary["slot"]: summary for summary in summaries.values() if summary["host"] == host}
            for slot, stage in data["slots"].items():
                if slot in newest and Stage[stage].holds_module:
                    _go_back(newest[slot], stage)

    def summaries(self, last_epochs: Mapping[str, Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        """Return the field reports as `seed_summaries` does, by the data of the last epoch of each host."""
        found = {key: {**summary} for key, summary in self._summaries.items()}
        for host, completed in last_epochs.items():
            for seed in completed.get("seeds", ()):
                if (host, seed["seed_id"]) in found:
                    _as_last_measured(found[host, seed["seed_id"]], completed, seed)
        return tuple(sorted(found.values(), key=lambda summary: (summary["germinated_epoch"], summary["slot"])))

    def _forget(self) -> None:
        if self._most is None or len(self._summaries) <= self._most:
            return
        ended = (key for key, summary in self._summaries.items() if summary["ended_epoch"] is not None)
        del self._summaries[next(ended, next(iter(self._summaries)))]


def _begun(host: str, transition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "host": host,
        "slot": transition["slot"],
        "seed_id": transition["seed_id"],
        "blueprint": transition["blueprint"],
        "parameters": None,
        "germinated_epoch": transition["epoch"],
        "ended_epoch": None,
        "final_stage": transition["target"],
        "epochs_by_stage": {},
        "reason": "",
        "accuracy_at_germination": None,
        "accuracy_at_end": None,
        "ablation": None,
        "gain": None,
    }


def _move(summary: dict[str, Any], transition: Mapping[str, Any]) -> None:
    """A seed ends where it is culled or fossilized; what its slot does afterwards is not part of it."""
    if summary["ended_epoch"] is not None:
        return
    summary["final_stage"] = transition["target"]
    if transition["source"] != Stage.DORMANT.name:
        summary["epochs_by_stage"][transition["source"]] = transition["epochs_in_source"]
    if transition["target"] in (Stage.CULLED.name, Stage.FOSSILIZED.name):
        summary |= {"ended_epoch": transition["epoch"], "reason": transition["reason"]}


def _go_back(summary: dict[str, Any], stage: str) -> None:
    """A seed that a rollback has brought back has not ended, unless it had been kept before."""
    if stage != Stage.FOSSILIZED.name:
        summary |= {"ended_epoch": None, "reason": ""}
    summary["final_stage"] = stage


def _as_last_measured(summary: dict[str, Any], epoch: Mapping[str, Any], seed: Mapping[str, Any]) -> None:
    summary["parameters"] = seed["parameters"]
    summary["accuracy_at_end"] = known(epoch["validation"]["accuracy"])
    summary["ablation"] = seed["contribution"] or summary["ablation"]
    summary["gain"] = seed["host_gain"] or summary["gain"]
