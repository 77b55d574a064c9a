"""The curves of a host's training, which every page draws, and the table that says the same."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from attrs import frozen

from esper_runs.formatting import MISSING, as_number, flops, known, loss, percent, whole
from esper_runs.result import TWIN
from esper_runs.tables import Column, Table

#: Data of a host's completed epochs, oldest first.
Epochs = Sequence[Mapping[str, Any]]

#: The table has the alphas of as many slots.
_MOST_SLOTS = 8


@frozen
class Curve:
    """A figure that each epoch has.

    Attributes:
        title: what it is, with its unit.
        path: where it is in the data of a completed epoch.
        write: how it is written.
    """

    title: str
    path: tuple[str, ...]
    write: Callable[[Any], str]


CURVES = (
    Curve("validation accuracy", ("validation", "accuracy"), percent),
    Curve("validation loss, nats", ("validation", "loss"), loss),
    Curve("training accuracy", ("train", "accuracy"), percent),
    Curve("training loss, nats", ("train", "loss"), loss),
)
SIZES = (Curve("parameters", ("parameters",), whole), Curve("forward pass", ("forward_flops",), flops))


def series(epochs: Epochs, *path: str) -> dict[int, float]:
    """Return a figure by epoch, from 0; nothing if none is finite."""
    found = {data["epoch"]: number for data in epochs if (number := as_number(_at(data, path))) is not None}
    return found if any(map(isfinite, found.values())) else {}


def alphas(epochs: Epochs, slot: str) -> dict[int, float]:
    """Return by epoch, from 0, how much of the update in a slot was added at its end, 0 to 1; where there is a seed."""
    found = {}
    for data in epochs:
        for seed in data.get("seeds") or ():
            if seed.get("slot") == slot and (alpha := as_number(seed.get("alpha"))) is not None:
                found[data["epoch"]] = alpha
    return found


def epoch_table(host: str, epochs: Epochs, twin: Epochs) -> Table:
    """Return a row for each epoch of a host beside its twin: accuracies, losses, sizes, alphas where one is not 0."""
    beside = {data["epoch"]: data for data in twin}
    slots = {slot: alphas(epochs, slot) for slot in (epochs[-1].get("slots") or () if epochs else ())}
    blended = {slot: found for slot, found in slots.items() if any(found.values())}
    columns = [Column("epoch", right=True)]
    for it in CURVES:
        columns += [Column(f"{it.title}: {host}", right=True)] + ([Column(TWIN, right=True)] if twin else [])
    columns += [Column(it.title, right=True) for it in SIZES]
    columns += [Column(f"alpha: {slot}", right=True) for slot in [*blended][:_MOST_SLOTS]]
    rows = []
    for data in epochs:
        cells = [whole(data["epoch"] + 1)]
        for it in CURVES:
            for measured in (data, beside.get(data["epoch"], {})) if twin else (data,):
                value = _at(measured, it.path)
                cells.append(it.write(known(value) if it.path[-1] == "accuracy" else value))
        cells += [it.write(_at(data, it.path)) for it in SIZES]
        for found in [*blended.values()][:_MOST_SLOTS]:
            cells.append(loss(found[data["epoch"]], digits=2) if data["epoch"] in found else MISSING)
        rows.append(tuple(cells))
    return Table(columns=tuple(columns), rows=tuple(rows))


def _at(data: Any, path: Sequence[str]) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
