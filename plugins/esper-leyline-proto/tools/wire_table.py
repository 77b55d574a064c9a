"""Write the tables of names in docs/wire.md: ``python tools/wire_table.py [--check]``.

What became of each name is written down in `earlier_contract.toml`. What it says is compared with the contract: a name
that is the same is there, with its number in an enumeration; so is what another was renamed to; and what is reserved
can never be used again.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

from esper_leyline_proto.contract import FILES, message_descriptor
from esper_leyline_proto.scalars import enum_numbers

NAMES = Path(__file__).with_name("earlier_contract.toml")
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "wire.md"
BEGIN, END = "<!-- names:begin -->", "<!-- names:end -->"


def read_names() -> dict[str, list[dict[str, Any]]]:
    """Return the earlier contract with what has become of it."""
    return tomllib.loads(NAMES.read_text())


def problems(names: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield what is said of a name and is not so."""
    enums = {name: enum for file in FILES for name, enum in file.enum_types_by_name.items()}
    for row in names["enum"]:
        if row["now"]:
            yield from _enum_problems(row, enums[row["now"]])
    for row in names["message"]:
        if row["now"]:
            yield from _message_problems(row)


def _enum_problems(row: Mapping[str, Any], enum: Any) -> Iterator[str]:
    proto = EnumDescriptorProto()
    enum.CopyToProto(proto)
    numbers = enum_numbers(enum)
    reserved = {number for it in proto.reserved_range for number in range(it.start, it.end + 1)}
    for member, number in _members(row):
        now, _ = _change(row, member)
        if number and now == "reserved" and number not in reserved:
            yield f"{row['now']} does not reserve {number} of {member}"
        if number and now != "reserved" and numbers.get(now or member) != number:
            yield f"{row['now']} has no {now or member} with the number {number}"


def _message_problems(row: Mapping[str, Any]) -> Iterator[str]:
    proto = DescriptorProto()
    message_descriptor(row["now"]).CopyToProto(proto)
    for field in row["fields"].split():
        now, _ = _change(row, field)
        if now == "reserved" and field not in proto.reserved_name:
            yield f"{row['now']} does not reserve {field}"
        if now != "reserved" and not _leads_somewhere(now or field, row["now"]):
            yield f"{row['now']} has no {now or field}"


def _leads_somewhere(path: str, message: str) -> bool:
    first, _, rest = path.partition(".")
    if first[0].isupper():
        return _leads_somewhere(rest, first)
    field = message_descriptor(message).fields_by_name.get(first)
    if field is None or not rest:
        return field is not None
    return field.message_type is not None and _leads_somewhere(rest, field.message_type.name)


def _members(row: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for text in row["members"].split():
        member, _, number = text.partition("=")
        yield member, int(number)


def _change(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The new name, or ``reserved``, and why; two empty texts for a name that is the same."""
    now, _, why = row.get("changes", {}).get(name, "").partition(": ")
    return now, why


def tables(names: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return both tables, a row for each enumeration and message."""
    head = "| earlier | now | same | renamed | reserved |\n|---|---|---|---|---|"
    enums = [_row(row, [name for name, _ in _members(row)]) for row in names["enum"]]
    messages = [_row(row, row["fields"].split()) for row in names["message"]]
    return "\n".join([*("### Enumerations", "", head), *enums, "", *("### Messages", "", head), *messages])


def _row(row: Mapping[str, Any], names: list[str]) -> str:
    title = ", ".join(f"`{name}`" for name in row["name"].split(", "))
    if not row["now"]:
        left_out = ", ".join(f"`{name}`" for name in names)
        return f"| {title} | left out: {row['why']} | | | {left_out} |"
    changes = {name: _change(row, name) for name in names}
    if "UNKNOWN" in changes:
        changes["UNKNOWN"] = ("UNSPECIFIED", "as protobuf's style guide has it")
    same = ", ".join(f"`{name}`" for name, (now, _) in changes.items() if not now)
    renamed = "; ".join(
        f"`{name}` → `{now}`: {why}" for name, (now, why) in changes.items() if now not in ("", "reserved")
    )
    reserved = "; ".join(f"`{name}`: {why}" for name, (now, why) in changes.items() if now == "reserved")
    return f"| {title} | `{row['now']}` | {same} | {renamed} | {reserved} |"


def with_tables(text: str, rows: str) -> str:
    """Return the document with the tables between its markers.

    Raises:
        SystemExit: the document has not exactly one pair of markers.
    """
    head, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(f"{END}\n")
    if not begin or not end or BEGIN in tail or END in tail:
        raise SystemExit(f"put the lines {BEGIN} and {END} once around the place of the tables")
    return f"{head}{begin}\n{rows}\n\n{end}{tail}"


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if they are out of date")
    options = parser.parse_args()
    names = read_names()
    if found := list(problems(names)):
        sys.exit("\n".join(found))
    old = DOCUMENT.read_text()
    new = with_tables(old, tables(names))
    if options.check and new != old:
        sys.exit(f"the names in {DOCUMENT.name} are out of date; run `python {Path(__file__).name}`")
    if new != old:
        DOCUMENT.write_text(new)


if __name__ == "__main__":
    main()
