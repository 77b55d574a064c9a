"""A line of a log holds what `to_json` gives, whatever an event holds."""

import json
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.records import to_json
from esper_runs.event_lines import event_line


class Stage(IntEnum):
    BLENDING = 3


class Mode(StrEnum):
    CALM = "calm"


@frozen
class Record:
    value: Any


TEXTS = st.text(alphabet=st.characters(), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([Stage.BLENDING, Mode.CALM])
KEYS = TEXTS | st.integers(0, 9) | st.sampled_from([Stage.BLENDING, Mode.CALM])
VALUES = st.recursive(
    SCALARS | st.frozensets(st.integers(), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=2).map(MappingProxyType)
        | inner.map(Record)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    data=st.dictionaries(TEXTS, VALUES, max_size=3),
    kind=st.sampled_from([EventKind.NOTICE, "forge.kept"]),
    texts=st.tuples(TEXTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS),
    epoch=st.none() | st.integers(0, 1 << 40),
    time=st.floats(0, 1e12),
)
@example(data={"a": float("nan"), "b": [float("-inf")]}, kind="x.y", texts=("", "", None, None), epoch=None, time=0.0)
@example(data={"a": "\ud800", "b": 1 << 80, "c": 1e-7}, kind="x.y", texts=("\udfff", "\n", "", "é"), epoch=0, time=0.5)
def test_it_is_the_json_of_the_event(
    data: Mapping[str, Any], kind: str, texts: tuple[Any, ...], epoch: int | None, time: float
) -> None:
    host, run, slot, seed_id = texts
    event = Event(
        kind=kind, host=host, epoch=epoch, data=data, sequence=7, time=time, run=run, slot=slot, seed_id=seed_id
    )
    line = event_line(event)
    assert line.startswith(b'{"kind": "')
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert [*json.loads(line)] == [*json.loads(to_json(event))]
    # An escape and what it stands for are the same text.
    assert json.loads(line) == json.loads(to_json(event).encode("utf-8", "backslashreplace"))


def test_what_has_no_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        event_line(Event(kind=EventKind.NOTICE, data={"it": object()}))


def test_the_same_event_is_the_same_bytes_each_time() -> None:
    event = Event(kind=EventKind.NOTICE, data={"b": 0.1 + 0.2, "a": [1, None]}, sequence=1, time=2.5)
    assert event_line(event) == event_line(event)
    assert b'"data": {"b":0.30000000000000004,"a":[1,null]}' in event_line(event)
