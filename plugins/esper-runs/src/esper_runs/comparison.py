"""The hosts of a run beside each other, as measured on the test split after the last epoch."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from esper_runs.formatting import duration, figure, flops, loss, percent, points, whole
from esper_runs.measures import Direction, Measure, compute_of
from esper_runs.result import CONTROL, TWIN, is_twin
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import verdict

_STYLES = {Direction.BETTER: "good", Direction.WORSE: "bad"}


@frozen
class _Row:
    title: str
    key: str
    write: Callable[[Any], str]
    write_difference: Callable[[Any], str]


#: A regression's error in units of its targets; the result says what it is called.
_IN_UNITS = "test_in_units"

#: What training the network and its seeds took, and what everything took, in floating-point operations.
_TRAINING, _COMPUTE = "compute/trained", "compute/total"

#: Where the differences from those that never grow are in a result.
_DIFFERENCES = ((TWIN, "difference"), (CONTROL, "compute_difference"))

_ROWS = (
    _Row("test accuracy", "test_accuracy", percent, points),
    _Row("test loss", "test_loss", loss, lambda value: loss(value, signed=True)),
    _Row("test error", _IN_UNITS, figure, lambda value: figure(value, signed=True)),
    _Row("parameters", "parameters", whole, lambda value: whole(value, signed=True)),
    _Row("forward pass", "forward_flops", flops, lambda value: flops(value, signed=True)),
    _Row("training time", "train_seconds", duration, lambda value: duration(value, signed=True)),
    _Row("epochs", "epochs", whole, lambda _: ""),
    _Row("training compute", _TRAINING, flops, lambda value: flops(value, signed=True)),
    _Row("all compute", _COMPUTE, flops, lambda value: flops(value, signed=True)),
)


def comparison(result: Mapping[str, Any]) -> Table:
    """Return a table of all hosts, those that never grow first, with the differences of one host from each of them.

    A difference that the verdict calls clear has the style ``good`` or ``bad``; every other one has none.
    """
    hosts = {name: _with_compute(host) for name, host in (result.get("hosts") or {}).items()}
    names = sorted(hosts, key=lambda name: (not is_twin(name), name == CONTROL))
    found = [(name, result[key]) for name, key in _DIFFERENCES if result.get(key)]
    judged = verdict(result)
    beside = {it.against: it for it in (judged, judged.at_equal_epochs) if it is not None}
    rows = []
    for row in _ROWS:
        if row.key == "test_accuracy" and not _has_accuracy(hosts):
            continue
        if row.key == _IN_UNITS and not result.get("test_measure"):
            continue
        if not _is_known(hosts, row.key):
            continue
        title = f"test {result['test_measure']}" if row.key == _IN_UNITS else row.title
        cells: list[Cell | str] = [title, *(row.write(hosts[name].get(row.key)) for name in names)]
        for name, difference in found:
            against = beside.get(name)
            measures = {} if against is None else {"test_accuracy": against.accuracy, "test_loss": against.loss}
            style = _STYLES.get(measures.get(row.key, Measure()).direction, "")
            value = _more(hosts, name, row.key) if row.key in (_TRAINING, _COMPUTE) else difference.get(row.key)
            cells.append(Cell(row.write_difference(value), style))
        rows.append(tuple(cells))
    alone = [name for name, _ in found] == [TWIN]
    titles = [*names, *("difference" if alone else f"to the {name}" for name, _ in found)]
    return Table(columns=(Column(""), *(Column(title, right=True) for title in titles)), rows=tuple(rows))


def _with_compute(host: Mapping[str, Any]) -> dict[str, Any]:
    """A host's figures with what it took: to train the network and its seeds, and in all."""
    everything, trained = compute_of(host)
    return {**host, _TRAINING: trained, _COMPUTE: everything}


def _more(hosts: Mapping[str, Mapping[str, Any]], other: str, key: str) -> float | None:
    grown = [host for name, host in hosts.items() if not is_twin(name)]
    ours, theirs = (host.get(key) for host in (grown[0], hosts.get(other, {})))
    return None if ours is None or theirs is None else float(ours - theirs)


def test_figures(result: Mapping[str, Any]) -> str:
    """Return what was measured on the test split in a line, with the difference where there is one.

    That is the accuracies, or the losses where no host has an accuracy. "" for a training that has no test split.
    """
    hosts = result.get("hosts") or {}
    if not (_is_known(hosts, "test_accuracy") or _is_known(hosts, "test_loss")):
        return ""
    row = _ROWS[0] if _has_accuracy(hosts) else _ROWS[1]
    listed = ", ".join(f"{name} {row.write(hosts[name].get(row.key))}" for name in sorted(hosts))
    found = {name: row.write_difference(result[key].get(row.key)) for name, key in _DIFFERENCES if result.get(key)}
    said = [f"{difference} to the {name}" if CONTROL in found else difference for name, difference in found.items()]
    return f"{row.title} {listed}" + (f" ({', '.join(said)})" if said else "")


def _has_accuracy(hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    """One of these hosts, or, if no loss is known either, of hosts of whatever kind."""
    return any(host.get("test_accuracy") is not None or host.get("test_loss") is None for host in hosts.values())


def _is_known(hosts: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    """One of the hosts has the figure, or has failed before it could have one."""
    return any(host.get(key) is not None or host.get("failure") for host in hosts.values())
