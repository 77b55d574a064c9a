from typing import Any

import pytest

from esper_app.configuration.overrides import parse_overrides
from esper_core.leyline.errors import EsperError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("optimizer.lr = 1e-3", {"optimizer": {"lr": 1e-3}}),
        ("twin=false", {"twin": False}),
        ("policy.name=ppo", {"policy": {"name": "ppo"}}),
        ("name=two words", {"name": "two words"}),
        ("name='true'", {"name": "true"}),
        ("sinks.jsonl.path=/tmp/a=b.jsonl", {"sinks": {"jsonl": {"path": "/tmp/a=b.jsonl"}}}),
        ('policy.blueprints=["noop", "conv-light"]', {"policy": {"blueprints": ["noop", "conv-light"]}}),
        ('rewards.terms=[{name="rent", weight=2}]', {"rewards": {"terms": [{"name": "rent", "weight": 2}]}}),
        ("name=2026-11-21", {"name": "2026-11-21"}),
        ("name=007", {"name": "007"}),
        ("name=1\nseed=2", {"name": "1\nseed=2"}),
        ("name=", {"name": ""}),
    ],
)
def test_values_are_toml_and_bare_words_are_text(text: str, expected: dict[str, Any]) -> None:
    assert parse_overrides([text]) == expected


def test_later_ones_win_and_tables_add_up() -> None:
    texts = ["host=x", "host.a=1", "host.b=2", "host.a=3"]
    assert parse_overrides(texts) == {"host": {"a": 3, "b": 2}}
    assert parse_overrides(["host.a=1", "host=x"]) == {"host": "x"}


@pytest.mark.parametrize("text", ["seed", "=3", "a..b=1", "a b=1", ".a=1", "a.=1"])
def test_what_is_no_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(EsperError, match="not of the form") as caught:
        parse_overrides([text])
    assert caught.value.code == "E202"


def test_a_table_on_two_lines_is_told_to_be_on_one() -> None:
    with pytest.raises(EsperError, match="broken value") as caught:
        parse_overrides(["host.settings={a=1,\n  b=2}"])
    assert "on one line" in str(caught.value.fix)


@pytest.mark.parametrize("text", ['policy.blueprints=["noop"', "host={a=1", 'name="open'])
def test_broken_toml_is_told_and_not_taken_for_text(text: str) -> None:
    with pytest.raises(EsperError, match="broken value") as caught:
        parse_overrides([text])
    assert caught.value.code == "E202"
