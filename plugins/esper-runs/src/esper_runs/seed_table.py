"""The seeds of a run: what became of each, how much the network depends on it, and what the network has gained."""

from collections.abc import Mapping, Sequence
from typing import Any

from esper_core.leyline.stages import Stage
from esper_runs.formatting import paired, whole
from esper_runs.tables import Cell, Column, Table

#: The two must not be mistaken for each other: ablation overstates the gain several times.
ABLATION_AND_GAIN = (
    "Both in nats, with standard errors. Ablation: the loss without the seed minus the loss with it, that is, how much "
    "the network depends on it. Gain: the twin's loss minus the network's when this was last measured, that is, what "
    "the network as a whole has gained; it is not the gain of one seed."
)

_COLUMNS = (
    Column("seed"),
    Column("blueprint"),
    Column("parameters", right=True),
    Column("epochs", right=True),
    Column("end"),
    Column("ablation", right=True),
    Column("gain", right=True),
    Column("reason", prose=True),
)

_STYLES = {Stage.FOSSILIZED.name: "good", Stage.CULLED.name: "bad"}


def seed_table(seeds: Sequence[Mapping[str, Any]], *, several_hosts: bool = False) -> Table:
    """Return a row for each field report; `several_hosts` names the host too."""
    return Table(columns=_COLUMNS, rows=tuple(_row(seed, several_hosts) for seed in seeds))


def _row(seed: Mapping[str, Any], several_hosts: bool) -> tuple[Cell | str, ...]:
    return (
        f"{seed['host']}/{seed['seed_id']}" if several_hosts else seed["seed_id"],
        seed["blueprint"],
        whole(seed.get("parameters")),
        lifetime(seed),
        Cell(ending(seed), _STYLES.get(seed["final_stage"], "")),
        paired(seed.get("ablation")),
        paired(seed.get("gain")),
        seed.get("reason") or "",
    )


def lifetime(seed: Mapping[str, Any]) -> str:
    """Say from when to when a seed's fate was open, counted from 1."""
    end = seed.get("ended_epoch")
    return f"from {seed['germinated_epoch'] + 1}" if end is None else f"{seed['germinated_epoch'] + 1} to {end + 1}"


def ending(seed: Mapping[str, Any]) -> str:
    """Say what became of a seed."""
    stage = seed["final_stage"]
    return f"{stage} (live)" if stage in Stage.__members__ and Stage[stage].live else str(stage)
