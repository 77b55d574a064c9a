"""One event as one line of a log: what `esper_core`'s `to_json` gives, an order of magnitude faster.

A burst has tens of thousands of events a second, and every microsecond that a line takes keeps the training thread from
the interpreter. So what an event holds is written by orjson, and what is around it from parts that are kept.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from math import isfinite
from typing import Any

import orjson

from esper_core.leyline.events import Event
from esper_core.leyline.records import plain, to_json

_SIMPLE = frozenset({str, int, bool, type(None)})


def event_line(event: Event) -> bytes:
    """Return an event as strict JSON with a line feed behind it.

    Numbers are written as short as they can be read back exactly. NaN and infinity, for which JSON has no number, are
    texts, as in `to_json`; a lone surrogate, which UTF-8 cannot hold, is its escape.

    Raises:
        TypeError: if something has no plain form.
    """
    epoch, slot, seed_id = event.epoch, event.slot, event.seed_id
    before = (
        f'{{"kind": {_text(event.kind)}, "host": {_text(event.host)}, "epoch": {"null" if epoch is None else epoch}, '
        f'"round": {event.round}, "data": '
    )
    after = (
        f', "sequence": {event.sequence}, "time": {event.time!r}, "monotonic": {event.monotonic!r}, '
        f'"run": {_text(event.run)}, "slot": {"null" if slot is None else _text(slot)}, '
        f'"seed_id": {"null" if seed_id is None else _text(seed_id)}}}\n'
    )
    return b"".join((_encoded(before), _data(event.data), _encoded(after)))


def _data(data: Any) -> bytes:
    if not _is_simple(data):
        data = json.loads(to_json(plain(data)))
    try:
        return orjson.dumps(data)
    except TypeError:  # what UTF-8 cannot hold, or very large integers: both are valid JSON
        return _encoded(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _is_simple(value: Any) -> bool:
    """Whether orjson writes it as `to_json` does: it would write NaN as null, and enumerations by value."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str for key in value) and _are_simple(value.values())
    if kind is list or kind is tuple:
        return _are_simple(value)
    return kind in _SIMPLE or (kind is float and isfinite(value))


def _are_simple(values: Iterable[Any]) -> bool:
    # Scalars are most of what comes; a call for each would take half of the time.
    for value in values:
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                return False
        elif kind not in _SIMPLE and not _is_simple(value):
            return False
    return True


@lru_cache(maxsize=1024)
def _text(text: str) -> str:
    """A text as JSON; names of kinds, hosts and slots come again and again."""
    return json.dumps(text, ensure_ascii=False)


def _encoded(text: str) -> bytes:
    # A lone surrogate cannot be encoded in UTF-8, but its escape is valid JSON.
    return text.encode("utf-8", errors="backslashreplace")
