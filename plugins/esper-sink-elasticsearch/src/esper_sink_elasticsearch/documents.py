"""From events to documents, and how Elasticsearch keeps them."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from esper_core.api import Event, plain
from esper_runs.event_text import event_summary, words
from esper_runs.metrics import MetricReader
from esper_runs.names import safe_name

#: No text of a document is longer, in characters.
_LONGEST = 8000

#: What is indexed of an event's payload, where it has it.
_ABOUT = ("slot", "seed_id", "blueprint", "source", "target", "cause", "final_stage", "op", "mode", "place", "outcome")

_KEYWORD = {"type": "keyword", "ignore_above": 1000}


def template(index: str) -> dict[str, Any]:
    """Return the index template: the payload is kept as it is, what is looked for has a type of its own."""
    properties = {
        "@timestamp": {"type": "date", "format": "epoch_millis"},
        "sequence": {"type": "long"},
        "epoch": {"type": "integer"},
        "round": {"type": "integer"},
        "text": {"type": "text"},
        "summary": {"type": "text"},
        "points": {
            "type": "nested",
            "properties": {
                "name": _KEYWORD,
                "host": _KEYWORD,
                "step": {"type": "integer"},
                "value": {"type": "double"},
            },
        },
        "data": {"type": "object", "enabled": False},
    }
    keywords = ("run", "run_id", "kind", "host", *_ABOUT)
    return {
        "index_patterns": [index],
        "template": {
            "mappings": {"dynamic": False, "properties": properties | dict.fromkeys(keywords, _KEYWORD)},
        },
    }


class Documents:
    """Makes the documents of a run; it must be shown the events in order.

    Args:
        manifest: the run's manifest.

    Attributes:
        run_id: tells the run apart from all others.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._run = _clean(str(manifest.get("name")))
        self.run_id = safe_name(f"{manifest.get('name')} {manifest.get('started')}")
        self._reader = MetricReader(manifest)

    def identity(self, event: Event) -> str:
        """Return the document's ``_id``: the same however often the event is sent."""
        return f"{self.run_id}:{event.sequence}"

    def document(self, event: Event) -> dict[str, Any]:
        """Return the document of an event: strict JSON, in which what is not finite is a text."""
        data = _clean(plain(event.data))
        points = [
            {"name": point.name, "host": _clean(point.host), "step": point.step, "value": point.value}
            for point in self._reader.points(event)
            if isfinite(point.value)
        ]
        about = {name: data[name] for name in _ABOUT if isinstance(data.get(name), str)}
        return about | {
            "@timestamp": int(event.time * 1000),
            "run": self._run,
            "run_id": self.run_id,
            "sequence": event.sequence,
            "kind": str(event.kind),
            "host": _clean(event.host),
            "epoch": event.epoch,
            "round": event.round,
            "summary": _summary(event, data),
            "text": " ".join(words(data))[:_LONGEST],
            "points": points,
            "data": data,
        }


def _summary(event: Event, data: Mapping[str, Any]) -> str:
    try:
        return str(_clean(event_summary(event.kind, data)))[:_LONGEST]
    except (KeyError, TypeError, ValueError):  # a payload with less than its record
        return ""


def _clean(value: Any) -> Any:
    """Plain data that every JSON reader takes: no half of a character, no number that is none, no empty name."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_clean(str(key)) or "_": _clean(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    return value
