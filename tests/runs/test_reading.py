"""What JSON from anybody may be: not too deep, no huge integers, in whatever encoding."""

import json

import pytest

from esper_runs.reading import DEEPEST, LARGEST_INTEGER, parse_json, refuse_oversized


def nested(depth: int):
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
class TestInEveryEncoding:
    def test_what_lies_too_deep_is_refused(self, encoding):
        assert parse_json(json.dumps(nested(DEEPEST)).encode(encoding)) == nested(DEEPEST)
        with pytest.raises(ValueError, match="nested deeper"):
            parse_json(json.dumps(nested(DEEPEST + 1)).encode(encoding))

    def test_what_is_too_large_is_refused(self, encoding):
        assert parse_json(str(LARGEST_INTEGER - 1).encode(encoding)) == LARGEST_INTEGER - 1
        for number in (LARGEST_INTEGER, -LARGEST_INTEGER):
            with pytest.raises(ValueError, match="an integer of 65 bits"):
                parse_json(f"[{number}]".encode(encoding))


def test_brackets_in_texts_are_no_depth():
    value = {"text": "[{" * DEEPEST, "list": [[]] * DEEPEST}
    assert parse_json(json.dumps(value)) == value


def test_deeper_than_python_reads_is_refused():
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json("[" * 100_000)


def test_data_that_was_no_json_is_checked_as_well():
    with pytest.raises(ValueError, match="nested deeper"):
        refuse_oversized(nested(DEEPEST + 1))
    with pytest.raises(ValueError, match="an integer of 65 bits"):
        refuse_oversized({"x": [LARGEST_INTEGER]})
    refuse_oversized({"x": [True, 1.5, None, "1" * 50]})
