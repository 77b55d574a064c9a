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


def spent(data: Mapping[str, Any]) -> float | None:
    """Return all floating-point operations up to the end of a completed epoch; None where they are not known."""
    parts = data.get("compute")
    known_parts = [as_number(part) for part in parts.values()] if isinstance(parts, Mapping) else []
    return sum(part or 0.0 for part in known_parts) if known_parts and None not in known_parts else None


def against_compute(epochs: Epochs, *path: str) -> list[tuple[float, float]]:
    """Return a figure of each epoch with what had been spent by then; epochs where one of the two is not known lack."""
    pairs = ((spent(data), as_number(_at(data, path))) for data in epochs)
    return [(cost, number) for cost, number in pairs if cost is not None and number is not None and isfinite(number)]


def compute_table(hosts: Mapping[str, Epochs]) -> Table:
    """Return a row for each epoch of each host: what it had spent by then, its accuracy and its loss in validation."""
    columns = (Column("host"), *(Column(title, right=True) for title in ("epoch", "all compute")))
    measured = [it for it in CURVES if it.path[0] == "validation"]
    rows = [
        (host, whole(data["epoch"] + 1), flops(spent(data)), *(_written(it, data) for it in measured))
        for host, epochs in hosts.items()
        for data in epochs
    ]
    return Table(columns=(*columns, *(Column(it.title, right=True) for it in measured)), rows=tuple(rows))


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
                cells.append(_written(it, measured))
        cells += [it.write(_at(data, it.path)) for it in SIZES]
        for found in [*blended.values()][:_MOST_SLOTS]:
            cells.append(loss(found[data["epoch"]], digits=2) if data["epoch"] in found else MISSING)
        rows.append(tuple(cells))
    return Table(columns=tuple(columns), rows=tuple(rows))


def _written(curve: Curve, data: Mapping[str, Any]) -> str:
    value = _at(data, curve.path)
    return curve.write(known(value) if curve.path[-1] == "accuracy" else value)


def _at(data: Any, path: Sequence[str]) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
