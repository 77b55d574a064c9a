"""The figures of a run as charts, each with the table that says the same."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from esper_app_report.html.charts import Course, Dot, Line, course_chart, dot_chart, line_chart
from esper_runs.curves import CURVES, SIZES, Epochs, against_compute, compute_table, epoch_table, series, spent
from esper_runs.formatting import MISSING, flops, loss, percent, whole
from esper_runs.html.markup import Markup, details, element, note, table
from esper_runs.pareto import MeasuredNetwork, pareto_front
from esper_runs.record_tables import reward_table
from esper_runs.result import CONTROL, TWIN, is_twin
from esper_runs.tables import Cell, Column, Table

#: The terms of a reward that weigh most are drawn, as many as there are colours.
_MOST_TERMS = 6

#: What a host is compared with, each in a colour of its own.
_BESIDE = (TWIN, CONTROL)


def curves(host: str, epochs: Epochs, twin: Epochs, *, several: bool = False) -> Iterator[Markup]:
    """Yield the curves of a host beside those of its twin, and the table of their figures.

    Args:
        host: its name.
        epochs, twin: data of the epochs that the two have completed; none of a twin that there is not.
        several: there are further hosts, so that titles name this one.
    """
    drawn = []
    whose = f"{host}: " if several else ""
    for it in (*CURVES, *SIZES):
        lines = [Line(title=host, style="grown", values=series(epochs, *it.path))]
        if twin:
            lines.append(Line(title=TWIN, style="twin", values=series(twin, *it.path)))
        if any(line.values for line in lines):
            drawn.append(line_chart(whose + it.title, lines, it.write))
    yield element("div", *drawn, class_="charts")
    yield details("These figures as a table", table(epoch_table(host, epochs, twin), f"{host}, epoch by epoch"))


def at_equal_compute(host: str, hosts: Mapping[str, Epochs], *, several: bool = False) -> Iterator[Markup]:
    """Yield accuracy and loss of a host and of what it is compared with, against all that each had spent by then.

    Nothing is drawn where the host is compared with nothing, or where operations were not counted.

    Args:
        host: its name.
        hosts: data of the completed epochs: the host's own, and those of its twin and its control under these names.
        several: there are further hosts, so that titles name this one.
    """
    compared = {name: epochs for name, epochs in hosts.items() if epochs and all(map(spent, epochs))}
    if host not in compared or len(compared) < 2:
        return
    drawn = []
    whose = f"{host}: " if several else ""
    for it in (it for it in CURVES if it.path[0] == "validation"):
        courses = [
            Course(title=name, style=name if name in _BESIDE else "grown", points=against_compute(epochs, *it.path))
            for name, epochs in compared.items()
        ]
        if any(course.points for course in courses):
            drawn.append(course_chart(f"{whose}{it.title}, against compute", courses, flops, it.write, "all compute"))
    yield element("div", *drawn, class_="charts")
    yield details("Compute as a table", table(compute_table(compared), f"{host} at equal compute"))


def rewards(host: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    """Yield the rewards of a host: their sum and the terms that weigh most, and a table with all terms."""
    found = [reward for reward in found if reward["epoch"] is not None]
    totals = Line(title="total", style="grown", values=series(found, "total"))
    terms = list(dict.fromkeys(str(term) for reward in found for term in reward.get("terms") or {}))
    lines = [Line(title=term, style="", values=series(found, "terms", term)) for term in terms]
    lines = [line for line in lines if _weight(line) > 0]
    heavy = sorted(lines, key=_weight, reverse=True)[:_MOST_TERMS]
    styled = [Line(title=line.title, style=f"term{i}", values=line.values) for i, line in enumerate(heavy)]
    yield line_chart(f"reward of {host}, by epoch", [totals, *styled], lambda value: loss(value, signed=True))
    if len(lines) > len(heavy):
        yield note(f"Drawn are the {len(heavy)} terms that weigh most; the table has all.")
    yield details("All terms as a table", table(reward_table(found), f"reward of {host}, term by term"))


def networks(task: str, found: Sequence[MeasuredNetwork]) -> Iterator[Markup]:
    """Yield the networks of one task: accuracy, or loss where there is none, against size, with the front of each."""
    by_accuracy = all(network.accuracy is not None for network in found)
    quality = "test accuracy" if by_accuracy else "test loss, nats"
    write = percent if by_accuracy else loss
    fronts: list[set[int]] = []
    drawn = []
    for title, write_x, key in ((it.title, it.write, it.path[0]) for it in SIZES):
        points = [
            (index, cost, value)
            for index, network in enumerate(found)
            for cost, value in [(getattr(network, key), network.accuracy if by_accuracy else network.loss)]
            if cost is not None and value is not None
        ]
        if not points:
            drawn.append(note(f"No network has both {quality} and {title}."))
            fronts.append(set())
            continue
        front = pareto_front([(cost, value if by_accuracy else -value) for _, cost, value in points])
        fronts.append({points[index][0] for index in front})
        dots = [
            Dot(
                x=cost,
                y=value,
                title=f"{found[i].run}, {found[i].host}: {write(value)}, {write_x(cost)} {title}",
                style="twin" if is_twin(found[i].host) else "grown",
            )
            for i, cost, value in points
        ]
        drawn.append(dot_chart(f"{quality} against {title}", dots, front, write_x, write, title))
    yield element("div", *drawn, class_="charts")
    yield table(_network_table(found, fronts), f"networks on {task}")


def _network_table(found: Sequence[MeasuredNetwork], fronts: Sequence[set[int]]) -> Table:
    titles = ("test accuracy", "test loss", "parameters", "forward pass")
    columns = (Column("run"), Column("host"), *(Column(title, right=True) for title in titles), Column("on the front"))
    rows = []
    for i, it in enumerate(found):
        on = [title for title, front in zip(("parameters", "forward pass"), fronts, strict=True) if i in front]
        figures = (percent(it.accuracy), loss(it.loss), whole(it.parameters), flops(it.forward_flops))
        rows.append((it.run, it.host, *figures, Cell(", ".join(on) or MISSING, "good" if on else "dim")))
    return Table(columns=columns, rows=tuple(rows))


def _weight(line: Line) -> float:
    return sum(abs(value) for value in line.values.values() if isfinite(value))
