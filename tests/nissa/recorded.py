"""Events that a real run has recorded, to be told once more."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from attrs import evolve

from esper_core.leyline.events import Event

NAME = "digits-1"
_LOG = Path(__file__).parents[1] / "compatibility" / "runs-0.1" / NAME / "events.jsonl"


def recorded_events() -> Iterator[Event]:
    """Yield the events of a recorded run, `NAME`, over and over, in rounds; it begins once and does not end."""
    lines = [json.loads(line) for line in _LOG.read_text().splitlines()]
    facts = ("kind", "host", "epoch", "data")
    recorded = [Event(**{name: line[name] for name in facts}) for line in lines]
    yield recorded[0]
    for number in count():
        yield from (evolve(event, round=number) for event in recorded[1:-1])
