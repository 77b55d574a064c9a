"""What JSON from anybody may be: not too deep, no huge integers, in whatever encoding."""

import json

import pytest

from esper_runs.reading import DEEPEST, LARGEST_INTEGER, parse_json, parse_members, refuse_oversized


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


class TestMembers:
    def test_they_are_read_no_further_than_to_the_last_of_them(self):
        text = '{ "a": [1, {"b": 2}],\n"b" : "x" , "c": nonsense }'
        assert parse_members(text, ["a", "b"]) == {"a": [1, {"b": 2}], "b": "x"}
        with pytest.raises(ValueError, match=r"Expecting|it has no|does not end"):
            parse_members(text, ["a", "c"])

    def test_one_that_is_missing_is_left_out(self):
        assert parse_members('{"a": 1, "c": {}}\n', ["a", "b"]) == {"a": 1}
        assert parse_members("{}", ["a"]) == {}

    @pytest.mark.parametrize("text", ["", "[]", '{"a": 1', '{"a" 1}', '{"a": 1 "b": 2}', "{1: 2}x", '{"a": 1}]'])
    def test_what_is_no_object_is_refused(self, text):
        with pytest.raises(ValueError, match=r"Expecting|it has no|does not end"):
            parse_members(text, ["a", "b"])

    def test_integers_are_bounded_and_so_is_depth(self):
        with pytest.raises(ValueError, match="integer"):
            parse_members(json.dumps({"a": LARGEST_INTEGER}), ["a"])
        with pytest.raises(ValueError, match="nested deeper"):
            parse_members('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", ["a"])
