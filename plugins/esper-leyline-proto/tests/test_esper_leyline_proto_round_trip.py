import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from functools import cache
from math import isnan
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esper_core.leyline.actions import Action
from esper_core.leyline.learning import Decision
from esper_core.leyline.sites import Site
from esper_leyline_proto.contract import FILES, message_descriptor
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.messages import RECORDS
from esper_leyline_proto.v1 import options_pb2 as options

TIMES = st.datetimes(
    datetime(1, 1, 3), datetime(9999, 12, 28), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11))])
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
INTEGERS = {
    F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    F.TYPE_UINT64: st.integers(0, 2**64 - 1),
    F.TYPE_SINT64: st.integers(-(2**63), 2**63 - 1),
    F.TYPE_STRING: st.integers(-(10**60) + 1, 10**60 - 1),
}
OVERRIDES = {
    (Site, "id"): st.text(min_size=1, max_size=5).filter(lambda text: not any(c == "." or c.isspace() for c in text)),
    (Site, "width"): st.integers(1, 2**32 - 1),
}


def classes(kind: type, found: dict[type, None] | None = None) -> dict[type, None]:
    """A class of records and all that its fields hold."""
    found = {} if found is None else found
    if attrs.has(kind):
        found[kind] = None
        for hint in get_type_hints(kind).values():
            classes(hint, found)
    for inner in get_args(kind):
        classes(inner, found)
    return found


ALL = [kind for top in (Envelope, *RECORDS.values()) for kind in classes(top)]
ALL = list(dict.fromkeys(ALL))


@cache
def records(kind: type) -> st.SearchStrategy[Any]:
    fields, hints = message_descriptor(kind.__name__).fields_by_name, get_type_hints(kind)
    wanted = [field for field in attrs.fields(kind) if not field.metadata.get("esper_bulky")]
    values = {field.name: one(hints[field.name], fields[field.name]) for field in wanted}
    values |= {name: strategy for (of, name), strategy in OVERRIDES.items() if of is kind}
    if kind is Decision:
        values["actions"] = st.lists(records(Action), max_size=2, unique_by=lambda action: action.slot)
    return st.builds(kind, **values)


def one(hint: Any, field: F) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.full_name == "esper.leyline.v1.Value":
        return PLAIN if hint is Any else st.one_of([st.from_type(kind) for kind in get_args(hint)])
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        rest = [inner for inner in get_args(hint) if inner is not type(None)]
        return st.none() | one(rest[0], field)
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of([one(inner, field) for inner in get_args(hint)])
    if field.message_type is not None and [inner.name for inner in field.message_type.fields] == ["items"]:
        field = field.message_type.fields[0]
    if issubclass(get_origin(hint) or object, Mapping):
        entry = field.message_type.fields_by_name
        return st.dictionaries(st.text(max_size=3), one(get_args(hint)[1], entry["value"]), max_size=2)
    if get_origin(hint) in (tuple, list, frozenset):
        return st.lists(one(get_args(hint)[0], field), max_size=2).map(get_origin(hint))
    if attrs.has(hint):
        return records(hint)
    if hint is datetime:
        return TIMES
    if hint is float:
        rule = field.GetOptions().Extensions[options.non_finite]
        figures = st.floats(allow_nan=False, allow_infinity=rule == options.NON_FINITE_ALLOWED)
        single = rule == options.NON_FINITE_NAN_IS_MISSING and not field.is_repeated
        return figures | st.just(float("nan")) if single else figures
    if hint is int:
        return INTEGERS[field.type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    return {str: st.text(max_size=5), bytes: st.binary(max_size=5), bool: st.booleans()}[hint]


def comparable(value: Any) -> Any:
    """A record such that NaN equals NaN, and 1 is not 1.0."""
    if attrs.has(type(value)):
        wanted = [field.name for field in attrs.fields(type(value))]
        return type(value), [comparable(getattr(value, name)) for name in wanted]
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [comparable(inner) for inner in value]
    return "nan" if isinstance(value, float) and isnan(value) else (type(value), value)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_as_it_was(kind):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(records(kind))
    def comes_back(record):
        data = to_bytes(record)
        back = from_bytes(kind, data)
        assert comparable(back) == comparable(record)
        assert to_bytes(back) == data

    comes_back()


def test_every_message_has_its_record():
    """What is in the contract and converted by no record would be tested by nobody."""
    messages = {name for file in FILES for name in file.message_types_by_name}
    helpers = {"Value", "Values", "Table", "Tensor", "Names", "GateResults"}
    assert messages - helpers == {kind.__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_record_and_message_have_the_same_fields(kind):
    wanted = {field.name for field in attrs.fields(kind) if not field.metadata.get("esper_bulky")}
    assert {field.name for field in message_descriptor(kind.__name__).fields} == wanted
