"""JSON Schema of events, derived from the records that they are made from."""

from collections.abc import Mapping, Sequence, Set
from enum import Enum, IntEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

import esper_core
from esper_core.leyline.events import Event, EventKind
from esper_runs.event_payloads import OPEN, PAYLOADS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {NoneType: "null", bool: "boolean", int: "integer", str: "string"}

#: No kinds but the core's.
NO_FURTHER: Mapping[str, type] = {}

#: What every line of a log has; a record's defaults are for the code that emits.
_ALWAYS = ("kind", "host", "data", "sequence", "time")


def event_schema(*, closed: bool = False, further: Mapping[str, type] = NO_FURTHER) -> dict[str, Any]:
    """Return the schema of one line of an event log, with the payload of every kind under ``$defs``.

    Fields without a default are required. Fields that have one may be missing from older logs, and other fields may be
    there in newer ones.

    Args:
        closed: refuse fields that are not described here.
        further: the payloads of kinds that plugins have registered. Events of other kinds may hold anything.
    """
    schema = _Schema(closed)
    known = {str(kind): cls for kind, cls in PAYLOADS.items()} | dict(further)
    payloads = {kind: schema.of_record(cls, open_=kind in OPEN) for kind, cls in known.items()}
    envelope = schema.of_record(Event)
    envelope["required"] = list(_ALWAYS)
    return {
        "$schema": _DIALECT,
        "title": f"An event of Esper {esper_core.__version__}",
        **envelope,
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}},
                "then": {"properties": {"data": {"$ref": f"#/$defs/{kind}"}}},
            }
            for kind in payloads
        ],
        "$defs": payloads | schema.definitions,
    }


def payload_schema(kind: str, *, closed: bool = False, further: Mapping[str, type] = NO_FURTHER) -> dict[str, Any]:
    """Return the schema of the data of one kind of event; `closed` and `further` as in `event_schema`."""
    schema = _Schema(closed)
    payload = schema.of_record(further.get(kind) or PAYLOADS[EventKind(kind)], open_=kind in OPEN)
    return {"$schema": _DIALECT, "title": str(kind), **payload, "$defs": schema.definitions}


class _Schema:
    """Turns annotations into schemas, records that lie in others into definitions."""

    def __init__(self, closed: bool) -> None:
        self.definitions: dict[str, Any] = {}
        self._closed = closed
        self._names: dict[type, str] = {}

    def of_record(self, cls: type, open_: bool = False) -> dict[str, Any]:
        """The schema of an attrs class as plain data; what is left out there is left out here."""
        hints = get_type_hints(cls)
        fields = [it for it in attrs.fields(cls) if not it.metadata.get("esper_bulky")]
        found: dict[str, Any] = {
            "type": "object",
            "description": (cls.__doc__ or "").partition("\n")[0],
            "properties": {it.name: self._of(hints[it.name]) for it in fields},
            "required": [it.name for it in fields if it.default is attrs.NOTHING],
        }
        return found | ({"additionalProperties": False} if self._closed and not open_ else {})

    def _of(self, hint: Any) -> dict[str, Any]:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is Any:
            return {}
        if origin in (Union, UnionType):
            return {"anyOf": [self._of(argument) for argument in arguments]}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self._of(arguments[1])}
        if isinstance(origin, type) and issubclass(origin, Sequence | Set):
            return {"type": "array", "items": self._of(arguments[0])}
        if isinstance(hint, type) and attrs.has(hint):
            if hint not in self._names:
                taken = hint.__name__ in self._names.values()
                name = self._names[hint] = f"{hint.__module__}.{hint.__name__}" if taken else hint.__name__
                self.definitions[name] = self.of_record(hint)
            return {"$ref": f"#/$defs/{self._names[hint]}"}
        return self._of_value(hint)

    def _of_value(self, hint: type) -> dict[str, Any]:
        if isinstance(hint, type) and issubclass(hint, Enum):
            return {"enum": [it.name if issubclass(hint, IntEnum) else it.value for it in hint]}
        if hint is float:
            self.definitions["number"] = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
            return {"$ref": "#/$defs/number"}
        # What else a plugin's payload may hold is not described.
        return {"type": _TYPES[hint]} if hint in _TYPES else {}
