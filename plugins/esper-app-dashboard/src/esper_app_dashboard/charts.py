"""The curves of a run as plain data: numbers to draw, and each of them in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from esper_core.api import EventKind
from esper_runs.curves import CURVES, SIZES, Epochs, series
from esper_runs.formatting import figure, loss, percent
from esper_runs.metrics import MetricReader, Point
from esper_runs.printing import printable
from esper_runs.result import TWIN
from esper_runs.run_record import RunRecord

#: No line has more points: several epochs share one, which shows the last of them.
_MOST_POINTS = 2_000

#: The terms of a reward that weigh most are drawn, as many as there are colours; and as many figures of rounds.
_MOST_TERMS, _MOST_FIGURES = 6, 12

#: A line: its title, its style, and a number for each place, counted from 0.
Line = tuple[str, str, Mapping[int, float]]


def host_charts(host: str, epochs: Epochs, twin: Epochs, *, several: bool) -> Iterator[dict[str, Any]]:
    """Yield the charts of a host beside its twin: accuracy, loss, sizes. Titles name one of `several` hosts."""
    for it in (*CURVES, *SIZES):
        lines: list[Line] = [(host, "grown", series(epochs, *it.path))]
        if twin:
            lines.append((TWIN, "twin", series(twin, *it.path)))
        if any(values for _, _, values in lines):
            yield _chart(f"{host}: {it.title}" if several else it.title, lines, it.write, share=it.write is percent)


def reward_chart(host: str, rewards: Sequence[Mapping[str, Any]], *, several: bool) -> Iterator[dict[str, Any]]:
    """Yield the chart of a host's rewards: their sum, and the terms that weigh most."""
    known = [reward for reward in rewards if reward["epoch"] is not None]
    terms = dict.fromkeys(str(term) for reward in known for term in reward.get("terms") or {})
    found = {term: series(known, "terms", term) for term in terms}
    heavy = sorted((term for term in found if _weight(found[term])), key=lambda it: _weight(found[it]), reverse=True)
    lines: list[Line] = [("total", "grown", series(known, "total"))]
    lines += [(term, f"term{number}", found[term]) for number, term in enumerate(heavy[:_MOST_TERMS])]
    if any(values for _, _, values in lines):
        yield _chart(f"{host}: reward" if several else "reward", lines, lambda value: loss(value, signed=True))


def round_charts(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield a chart for each figure of what the policy learned from its rounds, such as entropy, and for returns."""
    lines: dict[str, dict[str, dict[int, float]]] = {}
    for it in round_points(record):
        name = it.labels.get("figure", "return")
        lines.setdefault(name, {}).setdefault(it.host, {})[it.step] = it.value
    for name, hosts in [*lines.items()][:_MOST_FIGURES]:
        shown: list[Line] = [
            (host or name, "grown" if not number else f"term{(number - 1) % _MOST_TERMS}", values)
            for number, (host, values) in enumerate(hosts.items())
        ]
        yield _chart(f"policy: {name}", shown, figure, place="round")


def round_points(record: RunRecord) -> Iterator[Point]:
    """Yield the numbers of all rounds, as `esper_runs.metrics` finds them."""
    reader = MetricReader(record.manifest)
    for event in record.timeline:
        if event.kind == EventKind.ROUND_FINISHED:
            facts = {"kind": event.kind, "host": event.host, "epoch": event.epoch, "round": event.round}
            yield from reader.points({**facts, "data": event.data})


def _chart(
    title: str, lines: Sequence[Line], write: Callable[[Any], str], *, share: bool = False, place: str = "epoch"
) -> dict[str, Any]:
    places = sorted({at for _, _, values in lines for at in values})
    shown = places[:: max(1, -(-len(places) // _MOST_POINTS))]
    if places and shown[-1] != places[-1]:
        shown.append(places[-1])
    return {
        "title": printable(title),
        "share": share,
        "place": place,
        "x": [at + 1 for at in shown],
        "lines": [
            {
                "title": printable(name),
                "style": style,
                # What is not finite is a gap in the line, and stands in the words.
                "values": [it if (it := values.get(at)) is not None and isfinite(it) else None for at in shown],
                "words": [write(values[at]) if at in values else "" for at in shown],
            }
            for name, style, values in lines
        ],
    }


def _weight(values: Mapping[int, float]) -> float:
    return sum(abs(value) for value in values.values() if isfinite(value))
