"""Settings from the command line: ``--set key=value``."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from esper_core.leyline.errors import EsperError

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
#: A value that begins so is meant as TOML, and told when it is not.
_TOML_BEGINS = ("[", "{", '"', "'")


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Turn ``["optimizer.lr=0.05", "policy.name=ppo"]`` into nested data; later ones win.

    Values are read as TOML (``true``, ``1e-3``, ``["a", "b"]``, ``"text"``); a bare word is text.

    Raises:
        EsperError: E202 if a text is not of the form key=value, or its value is broken TOML.
    """
    return nested(dict(_parse(text) for text in texts))


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"a.b": 1}`` into ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for path, value in dotted.items():
        *tables, key = path.split(".")
        table = tree
        for name in tables:
            inner = table.get(name)
            table[name] = table = inner if isinstance(inner, dict) else {}
        table[key] = value
    return tree


def _parse(text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not _KEY.fullmatch(key):
        fix = "write key=value with a dotted key, such as optimizer.lr=0.05"
        raise EsperError("E202", f"--set {text!r} is not of the form key=value", fix=fix)
    return key, _value(text, value)


def _value(text: str, value: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if value.startswith(_TOML_BEGINS):
            quoted = "quote it for the shell as in --set 'policy.blueprints=[\"noop\"]'"
            fix = "write {...} on one line, as TOML wants it" if "{" in value and "\n" in value else quoted
            raise EsperError("E202", f"--set {text!r} has a broken value", why=str(error), fix=fix) from error
        return value
    except (ValueError, RecursionError) as error:  # nested deeper, or a longer number, than Python reads
        what = f"--set {text.partition('=')[0]} has a value that is too large"
        raise EsperError("E202", what, why=type(error).__name__) from error
    # A line break could smuggle further keys in; dates have no place in a configuration: both are meant as text.
    plain = len(parsed) == 1 and isinstance(parsed["value"], bool | int | float | str | list | dict)
    return parsed["value"] if plain else value
