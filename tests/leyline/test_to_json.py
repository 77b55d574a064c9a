import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_core.leyline.events import Event, EventKind, Level
from esper_core.leyline.records import to_json


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_values)
def test_any_plain_value_is_strict_json_on_one_line(value: Any) -> None:
    text = to_json(value)
    assert "\n" not in text
    strict(text)


@given(st.floats())
def test_floats_are_read_back_by_float(value: float) -> None:
    again = float(strict(to_json({"x": [value]}))["x"][0])
    assert again == value or (math.isnan(again) and math.isnan(value))


def test_records_and_enums_are_written_by_name() -> None:
    data = strict(to_json(Event(kind=EventKind.NOTICE, data={"level": Level.DEBUG, "text": "déjà vu ✓"})))
    assert data["kind"] == "notice"
    assert data["data"] == {"level": "DEBUG", "text": "déjà vu ✓"}


def test_non_ascii_text_stays_readable() -> None:
    assert "✓" in to_json({"text": "✓"})


def test_what_has_no_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        to_json({"x": object()})
