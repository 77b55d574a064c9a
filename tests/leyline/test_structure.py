from collections.abc import Mapping
from contextlib import suppress
from enum import IntEnum, StrEnum
from typing import Any, Literal

import attrs
import pytest
from attrs import frozen, validators
from hypothesis import given
from hypothesis import strategies as st

from esper_core.leyline.errors import EsperError
from esper_core.leyline.structure import structure


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Leaf:
    depth: int = attrs.field(default=1, validator=validators.ge(1))


@frozen(kw_only=True)
class Options:
    count: int = 0
    rate: float = 0.0
    on: bool = False
    title: str = ""
    size: Size = Size.SMALL
    colour: Colour = Colour.RED
    limit: float | None = 1.0
    label: str | None = None
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.0, 0.0)
    leaf: Leaf = Leaf()
    leaves: tuple[Leaf, ...] = ()
    weights: Mapping[str, float] = attrs.field(factory=dict)
    either: float | str = 0.0
    share: float = attrs.field(default=0.5, validator=validators.lt(1.0))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"count": 3}, 3),
        ({"rate": 3}, 3.0),
        ({"on": True}, True),
        ({"size": "large"}, Size.LARGE),
        ({"size": "LARGE"}, Size.LARGE),
        ({"colour": "blue"}, Colour.BLUE),
        ({"limit": "none"}, None),
        ({"limit": "auto"}, None),
        ({"limit": 2}, 2.0),
        ({"label": "none"}, None),
        ({"label": "auto"}, "auto"),
        ({"mode": "b"}, "b"),
        ({"names": ["x", "y"]}, ("x", "y")),
        ({"pair": [1, 2.5]}, (1.0, 2.5)),
        ({"leaf": {"depth": 4}}, Leaf(depth=4)),
        ({"leaves": [{"depth": 2}, {}]}, (Leaf(depth=2), Leaf())),
        ({"weights": {"k": 1}}, {"k": 1.0}),
        ({"either": "x"}, "x"),
    ],
)
def test_a_fitting_value_is_taken(data: dict[str, Any], expected: Any) -> None:
    (name,) = data
    assert getattr(structure(Options, data), name) == expected


@pytest.mark.parametrize(
    ("data", "path", "why"),
    [
        ({"count": 1.5}, "part.count", "expected an integer, got 1.5"),
        ({"count": "3"}, "part.count", "expected an integer, got '3'"),
        ({"count": True}, "part.count", "expected an integer, got True"),
        ({"rate": "1"}, "part.rate", "expected a number, got '1'"),
        ({"on": 1}, "part.on", "expected true or false, got 1"),
        ({"title": 7}, "part.title", "expected text, got 7"),
        ({"size": "huge"}, "part.size", "expected one of small, large, got 'huge'"),
        ({"size": 1}, "part.size", "expected one of small, large, got 1"),
        ({"colour": "RED"}, "part.colour", "expected one of red, blue, got 'RED'"),
        ({"mode": "c"}, "part.mode", "expected one of 'a', 'b', got c"),
        ({"names": "xy"}, "part.names", "expected a list, got 'xy'"),
        ({"names": ["x", 1]}, "part.names[1]", "expected text, got 1"),
        ({"pair": [1, 2, 3]}, "part.pair", "Too many"),
        ({"leaf": 3}, "part.leaf", "expected a table, got 3"),
        ({"leaves": [{}, {"depth": "x"}]}, "part.leaves[1].depth", "expected an integer"),
        ({"leaves": [{"depth": 0}]}, "part.leaves[0].depth", "must be >= 1"),
        ({"weights": {"k": "v"}}, "part.weights.k", "expected a number"),
        ({"share": 2}, "part.share", "must be < 1.0"),
    ],
)
def test_a_bad_value_is_refused_with_its_path(data: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(EsperError) as caught:
        structure(Options, data, path="part", source="run.toml")
    assert caught.value.code == "E202"
    assert f'"{path}"' in caught.value.what
    assert caught.value.where == "run.toml"
    assert why in (caught.value.why or "")


@pytest.mark.parametrize(
    ("data", "path", "nearest"),
    [
        ({"coutn": 1}, "part.coutn", "count"),
        ({"leaf": {"deph": 1}}, "part.leaf.deph", "depth"),
        ({"leaves": [{}, {"deth": 1}]}, "part.leaves[1].deth", "depth"),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_known_one(data: dict[str, Any], path: str, nearest: str) -> None:
    with pytest.raises(EsperError) as caught:
        structure(Options, data, path="part")
    assert caught.value.code == "E201"
    assert f'"{path}"' in caught.value.what
    assert f'"{nearest}"' in (caught.value.fix or "")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([a.name for a in attrs.fields(Options)]), _json, max_size=3) | _json)
def test_whatever_is_given_is_taken_or_refused_in_words(data: Any) -> None:
    with suppress(EsperError):
        assert isinstance(structure(Options, data), Options)
