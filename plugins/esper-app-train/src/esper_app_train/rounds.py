"""The rounds of a training in words and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from esper_runs.formatting import MISSING, as_number, known, loss, percent
from esper_runs.result import is_twin
from esper_runs.tables import Cell, Column, Table

#: How the names of figures about anomalies begin.
ANOMALY = "anomaly: "

#: The figures of learning that are shown where a policy gives them.
_FIGURES = ("entropy", "kl", "explained variance")


def mean_return(found: Mapping[str, Any]) -> float:
    """Return the mean of the hosts' returns in a round."""
    returns: Mapping[str, float] = found["returns"]
    return sum(returns.values()) / len(returns)


def anomalies_of(found: Mapping[str, Any]) -> list[str]:
    """Return what was wrong in a round, as the policy says."""
    return [name.removeprefix(ANOMALY) for name, it in found["figures"].items() if name.startswith(ANOMALY) and it]


def round_line(found: Mapping[str, Any], rounds: int) -> str:
    """Return what came of a round in a line."""
    figures = [f"{name} {_figure(found, name)}" for name in _FIGURES if name in found["figures"]]
    grown, twin = (measured(found, twins=twins) for twins in (False, True))
    parts = [f"round {found['round'] + 1} of {rounds}", f"mean return {mean_return(found):+.3f}", f"grown {grown}"]
    parts[2] += f", twin {twin}" if twin != MISSING else ""
    return " | ".join([*parts, *([", ".join(figures)] if figures else [])])


def round_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of rounds, the latest last."""
    shown = [name for name in _FIGURES if any(name in it["figures"] for it in rounds)]
    columns = [Column(title, right=True) for title in ("round", "return", "grown", "twin")]
    columns += [Column(name, right=True, spare=True) for name in shown]
    return Table(columns=tuple(columns), rows=tuple(_row(it, shown) for it in rounds))


def _row(found: Mapping[str, Any], shown: Sequence[str]) -> tuple[Cell | str, ...]:
    number = Cell(str(found["round"] + 1), "warning" if anomalies_of(found) else "")
    hosts = (measured(found, twins=twins) for twins in (False, True))
    return (number, f"{mean_return(found):+.3f}", *hosts, *(_figure(found, name) for name in shown))


def measured(found: Mapping[str, Any], *, twins: bool) -> str:
    """Return the mean validation accuracy of hosts or twins after a round's last epoch, or loss where there is none."""
    ends = [it["validation"] for name, it in found["ends"].items() if is_twin(name) is twins and it.get("validation")]
    accuracies = [known(it.get("accuracy")) for it in ends]
    losses = [as_number(it.get("loss")) for it in ends]
    for values, write in ((accuracies, percent), (losses, loss)):
        there = [value for value in values if value is not None]
        if there:
            return write(sum(there) / len(there))
    return MISSING


def _figure(found: Mapping[str, Any], name: str) -> str:
    value = as_number(found["figures"].get(name))
    return MISSING if value is None else f"{value:.3f}"
