import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_app.configuration.toml import to_toml

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_scalar = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _text
_data = st.dictionaries(
    _text,
    st.recursive(
        _scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(_data)
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_nan_is_read_back() -> None:
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


def test_comments_stand_behind_values_and_change_nothing() -> None:
    data = {"a": {"b": 1}, "c": "x"}
    text = to_toml(data, lambda path: f"path {path}")
    assert tomllib.loads(text) == data
    assert 'c = "x"  # path c' in text
    assert "b = 1  # path a.b" in text


def test_none_becomes_its_word() -> None:
    assert tomllib.loads(to_toml({"clip_norm": None})) == {"clip_norm": "none"}


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no form"):
        to_toml({"x": object()})
