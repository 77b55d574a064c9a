"""What one event says, in words: for places where nothing else of the run is known."""

from collections.abc import Iterator, Mapping
from typing import Any

from esper_core.leyline.events import EventKind
from esper_runs.formatting import figure, loss, metrics
from esper_runs.timeline_text import NOTES, asked_text, denial_text, transition_text, verdict_lines


def event_text(kind: str, data: Mapping[str, Any]) -> str | None:
    """Describe an event in a line; None for one that holds numbers alone, or whose kind is not known here."""
    if kind == EventKind.SEED_TRANSITION:
        return f"{data['slot']} {transition_text(data)}"
    if kind == EventKind.ACTION_DENIED:
        return denial_text(data)
    if kind == EventKind.ACTION_DECIDED:
        return asked_text(data)
    if kind == EventKind.SEED_FINISHED:
        ended = f": {data['reason']}" if data.get("reason") else ""
        return f"{data['slot']} {data['blueprint']} ended as {data['final_stage']}{ended}"
    if kind == EventKind.GATES_EVALUATED:
        return "; ".join(verdict_lines(result)[0] for result in data["results"])
    return NOTES[kind](data) if kind in NOTES else None


def event_summary(kind: str, data: Mapping[str, Any]) -> str:
    """Describe an event in a line, one that holds numbers by the most important of them."""
    if (text := event_text(kind, data)) is not None:
        return text
    if kind == EventKind.EPOCH_COMPLETED:
        return f"training {metrics(data.get('train'))}, validation {metrics(data.get('validation'))}"
    if kind == EventKind.REWARD_COMPUTED:
        return f"reward {loss(data.get('total'), signed=True)}"
    if kind == EventKind.ROUND_FINISHED:
        returns = ", ".join(f"{host} {figure(sum(rewards), signed=True)}" for host, rewards in data["rewards"].items())
        return f"learned from the returns {returns}"
    if kind == EventKind.RUN_STARTED:
        return f"run {data.get('name')}"
    if kind == EventKind.RUN_FINISHED:
        return str(data.get("outcome"))
    return str(data.get("diagnostic") or "")


def words(data: Any) -> Iterator[str]:
    """Yield every text in an event's data, for an index."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from words(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from words(value)
