"""Plain data as TOML, with comments. (The standard library reads TOML but does not write it.)"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite, isnan
from typing import Any

#: Gives the comment for the value at a dotted path, or None.
Comment = Callable[[str], str | None]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any], comment: Comment = lambda path: None) -> str:
    """Write nested plain data as TOML; None becomes the word ``"none"`` (see `structure.NONE_WORDS`).

    Raises:
        TypeError: for a value that TOML has no form for.
    """
    return "\n".join(_table(data, "", comment)) + "\n"


def toml_value(value: Any) -> str:
    """Write one value on one line."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, except that TOML wants DEL escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if isfinite(value) else "nan" if isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        items = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml_value, value))}]"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def toml_key(key: str) -> str:
    """Write a key, quoted where it has to be."""
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def _table(data: Mapping[str, Any], path: str, comment: Comment, header: str = "") -> Iterator[str]:
    """The table's own values first, then its tables: a value after a table's header would belong to that table."""
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    values = {key: value for key, value in data.items() if key not in tables}
    if header and (values or not tables):
        yield f"\n[{header}]"
    for key, value in values.items():
        line = f"{toml_key(key)} = {toml_value(value)}"
        said = comment(dotted(path, key))
        yield f"{line}  # {said}" if said else line
    for key, value in tables.items():
        yield from _table(value, dotted(path, key), comment, dotted(header, toml_key(key)))


def dotted(path: str, key: str) -> str:
    """Append a key to a dotted path."""
    return f"{path}.{key}" if path else key
