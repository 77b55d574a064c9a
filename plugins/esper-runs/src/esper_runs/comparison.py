"""The hosts of a run beside each other, as measured on the test split after the last epoch."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from esper_runs.formatting import duration, figure, flops, loss, percent, points, whole
from esper_runs.result import TWIN
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import Direction, Measure, verdict

_STYLES = {Direction.BETTER: "good", Direction.WORSE: "bad"}


@frozen
class _Row:
    title: str
    key: str
    write: Callable[[Any], str]
    write_difference: Callable[[Any], str]


#: A regression's error in units of its targets; the result says what it is called.
_IN_UNITS = "test_in_units"

_ROWS = (
    _Row("test accuracy", "test_accuracy", percent, points),
    _Row("test loss", "test_loss", loss, lambda value: loss(value, signed=True)),
    _Row("test error", _IN_UNITS, figure, lambda value: figure(value, signed=True)),
    _Row("parameters", "parameters", whole, lambda value: whole(value, signed=True)),
    _Row("forward pass", "forward_flops", flops, lambda value: flops(value, signed=True)),
    _Row("training time", "train_seconds", duration, lambda value: duration(value, signed=True)),
    _Row("epochs", "epochs", whole, lambda _: ""),
)


def comparison(result: Mapping[str, Any]) -> Table:
    """Return a table of all hosts, the twin first, with the difference where there is one host beside a twin.

    A difference that the verdict calls clear has the style ``good`` or ``bad``; every other one has none.
    """
    hosts: Mapping[str, Mapping[str, Any]] = result.get("hosts") or {}
    names = sorted(hosts, key=lambda name: name != TWIN)
    difference: Mapping[str, Any] | None = result.get("difference")
    judged = verdict(result)
    measures = {"test_accuracy": judged.accuracy, "test_loss": judged.loss}
    rows = []
    for row in _ROWS:
        if row.key == "test_accuracy" and not _has_accuracy(hosts):
            continue
        if row.key == _IN_UNITS and not result.get("test_measure"):
            continue
        title = f"test {result['test_measure']}" if row.key == _IN_UNITS else row.title
        cells: list[Cell | str] = [title, *(row.write(hosts[name].get(row.key)) for name in names)]
        if difference:
            style = _STYLES.get(measures.get(row.key, Measure()).direction, "")
            cells.append(Cell(row.write_difference(difference.get(row.key)), style))
        rows.append(tuple(cells))
    titles = [*names, *(["difference"] if difference else [])]
    return Table(columns=(Column(""), *(Column(title, right=True) for title in titles)), rows=tuple(rows))


def test_figures(result: Mapping[str, Any]) -> str:
    """Return what was measured on the test split in a line, with the difference where there is one.

    That is the accuracies, or the losses where no host has an accuracy.
    """
    hosts = result.get("hosts") or {}
    row = _ROWS[0] if _has_accuracy(hosts) else _ROWS[1]
    listed = ", ".join(f"{name} {row.write(hosts[name].get(row.key))}" for name in sorted(hosts))
    difference = result.get("difference")
    return f"{row.title} {listed}" + (f" ({row.write_difference(difference.get(row.key))})" if difference else "")


def _has_accuracy(hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    """One of these hosts, or, if no loss is known either, of hosts of whatever kind."""
    return any(host.get("test_accuracy") is not None or host.get("test_loss") is None for host in hosts.values())
