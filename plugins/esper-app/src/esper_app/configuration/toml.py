"""Plain data as TOML, with comments, written by tomlkit. (The standard library reads TOML but does not write it.)"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Item, Table

from esper_core.leyline.printable import UNPRINTABLE

#: Gives the comment for the value at a dotted path, or None.
Comment = Callable[[str], str | None]


def to_toml(data: Mapping[str, Any], comment: Comment = lambda path: None) -> str:
    """Write nested plain data as TOML; None becomes the word ``"none"`` (see `structure.NONE_WORDS`).

    Raises:
        TypeError: for a value that TOML has no form for.
    """
    document = tomlkit.document()
    _fill(document, data, "", comment)
    return _printable(tomlkit.dumps(document))


def toml_value(value: Any) -> str:
    """Write one value on one line."""
    return _printable(_item(value).as_string())


def toml_key(key: str) -> str:
    """Write a key, quoted where it has to be."""
    return _printable(tomlkit.key(key).as_string())


def dotted(path: str, key: str) -> str:
    """Append a key to a dotted path."""
    return f"{path}.{key}" if path else key


def _printable(text: str) -> str:
    """Escape what tomlkit leaves as it is but a terminal would obey; such characters stand in strings only."""
    return UNPRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", text)


def _fill(table: tomlkit.TOMLDocument | Table, data: Mapping[str, Any], path: str, comment: Comment) -> None:
    """The table's own values first, then its tables: a value after a table's header would belong to that table."""
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    for key, value in data.items():
        if key in tables:
            continue
        item = _item(value)
        if said := comment(dotted(path, key)):
            item.comment(said)
            item.trivia.comment_ws = "  "
        table.append(tomlkit.key(key), item)
    for key, value in tables.items():
        inner = tomlkit.table()
        _fill(inner, value, dotted(path, key), comment)
        table.append(tomlkit.key(key), inner)


def _item(value: Any) -> Item:
    """Lists and mappings inside of values are written inline, so that a value is always one line."""
    if value is None:
        return tomlkit.string("none")
    if isinstance(value, Mapping):
        table: InlineTable = tomlkit.inline_table()
        for key, item in value.items():
            table.append(tomlkit.key(key), _item(item))
        return table
    if isinstance(value, Sequence) and not isinstance(value, str):
        array = tomlkit.array()
        for item in value:
            array.append(_item(item))
        return array
    if isinstance(value, bool | int | float | str):
        return tomlkit.item(value)
    raise TypeError(f"{type(value).__name__} has no form in TOML")
