"""Field reports of a run that is not over: put together from its events, as the run itself would at its end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Stage


def seed_lives(
    events: Iterable[Mapping[str, Any]], epochs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the field report of every seed, as last measured, oldest first; `ended_epoch` is None while it lives.

    Args:
        events: the run's events.
        epochs: data of every host's completed epochs, oldest first.
    """
    lives: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        host, data = event["host"], event["data"]
        if event["kind"] == EventKind.SEED_TRANSITION:
            life = lives.setdefault((host, data["seed_id"]), _newborn(host, data))
            _move(life, data)
        elif event["kind"] == EventKind.SEED_FINISHED:
            lives[host, data["seed_id"]] = {"host": host, **data}
    for host, completed in epochs.items():
        for seed in completed[-1].get("seeds", ()) if completed else ():
            if (host, seed["seed_id"]) in lives:
                _as_last_measured(lives[host, seed["seed_id"]], completed[-1], seed)
    return tuple(sorted(lives.values(), key=lambda life: (life["germinated_epoch"], life["slot"])))


def _newborn(host: str, transition: Mapping[str, Any]) -> dict[str, Any]:
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


def _move(life: dict[str, Any], transition: Mapping[str, Any]) -> None:
    """A seed's life ends where it is culled or fossilized; what its slot does afterwards is no part of it."""
    if life["ended_epoch"] is not None:
        return
    life["final_stage"] = transition["target"]
    if transition["source"] != Stage.DORMANT.name:
        life["epochs_by_stage"][transition["source"]] = transition["epochs_in_source"]
    if transition["target"] in (Stage.CULLED.name, Stage.FOSSILIZED.name):
        life |= {"ended_epoch": transition["epoch"], "reason": transition["reason"]}


def _as_last_measured(life: dict[str, Any], epoch: Mapping[str, Any], seed: Mapping[str, Any]) -> None:
    life["parameters"] = seed["parameters"]
    life["accuracy_at_end"] = epoch["validation"]["accuracy"]
    life["ablation"] = seed["contribution"] or life["ablation"]
    life["gain"] = seed["host_gain"] or life["gain"]
