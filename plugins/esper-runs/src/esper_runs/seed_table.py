"""The seeds of a run: what became of each, how much the network depends on it, and what the network has gained."""

from collections.abc import Mapping, Sequence
from typing import Any

from esper_core.leyline.stages import Stage
from esper_runs.formatting import paired, percent, whole
from esper_runs.tables import table

#: The two must not be mistaken for each other: ablation overstates the gain several times.
ABLATION_AND_GAIN = (
    "Both in nats, with standard errors. Ablation: the loss without the seed minus the loss with it, that is, how much "
    "the network depends on it. Gain: the twin's loss minus the network's when this was last measured, that is, what "
    "the network as a whole has gained; it is no seed's own."
)

_HEADERS = ("seed", "blueprint", "parameters", "epochs", "end", "ablation", "gain", "accuracy")


def seed_table(seeds: Sequence[Mapping[str, Any]], *, several_hosts: bool = False) -> str:
    """Return a row for each field report; `several_hosts` names the host too."""
    rows = [
        (
            f"{seed['host']}/{seed['seed_id']}" if several_hosts else seed["seed_id"],
            seed["blueprint"],
            whole(seed["parameters"]),
            lifetime(seed),
            ending(seed),
            paired(seed["ablation"]),
            paired(seed["gain"]),
            f"{percent(seed['accuracy_at_germination'])} → {percent(seed['accuracy_at_end'])}",
        )
        for seed in seeds
    ]
    return table(_HEADERS, rows, right=(2, 5, 6, 7))


def lifetime(seed: Mapping[str, Any]) -> str:
    """Say from when to when a seed's fate was open, counted from 1."""
    end = seed["ended_epoch"]
    return f"from {seed['germinated_epoch'] + 1}" if end is None else f"{seed['germinated_epoch'] + 1} to {end + 1}"


def ending(seed: Mapping[str, Any]) -> str:
    """Say what became of a seed."""
    stage = seed["final_stage"]
    return f"{stage} (live)" if stage in Stage.__members__ and Stage[stage].live else str(stage)
