"""A run's manifest as a table: what was run, with which settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from esper_runs.tables import Column, Table

#: What stands elsewhere on every page, or is too long for one: the packages of an environment, and plugins that took no
#: part.
_NOT_SHOWN = {"packages", "plugins", "command", "format"}


def manifest_table(manifest: Mapping[str, Any]) -> Table:
    """Return a row for each setting of a run, and for what else its manifest says about how it was run."""
    kept = {key: value for key, value in manifest.items() if key not in _NOT_SHOWN}
    kept["plugins that took part"] = [
        f"{entry.get('distribution') or entry.get('file') or entry.get('plugin')} {entry.get('version') or ''}".strip()
        for entry in manifest.get("plugins") or ()
        if entry.get("used")
    ]
    rows = tuple((name, value) for name, value in _flat(kept))
    return Table(columns=(Column("setting"), Column("value", prose=True)), rows=rows)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and not any(isinstance(it, list | Mapping) for it in value):
        yield path, ", ".join(map(str, value)) or "none"
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{index}")
    elif value is not None and value != {}:
        yield path, str(value)
