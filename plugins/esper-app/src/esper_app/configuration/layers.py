"""Configuration in layers: later ones win, and each value remembers where it came from."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from esper_app.configuration.places import Places
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS

#: What a section that is given as a text says, where it names no component.
_SHORT = {"telemetry": "level"}

#: Keys of a section of which one says what the others would: a layer that has one discards the others of weaker layers.
_EITHER = (("rewards", "preset", "terms"),)


class Origin(StrEnum):
    """Where a value comes from, weakest first."""

    DEFAULT = "default"
    PROFILE = "profile"
    TASK = "task"
    POLICY = "policy"
    FILE = "file"
    CLI = "cli"


@frozen(kw_only=True)
class Layer:
    """One source of configuration.

    Attributes:
        origin: its rank.
        source: where it was written, in words, for messages.
        data: nested plain data in the shape of a configuration file.
    """

    origin: Origin
    source: str
    data: Mapping[str, Any]


@frozen(kw_only=True)
class Merged:
    """All layers on top of each other.

    Attributes:
        tree: nested plain data.
        values: the layer that wrote each value, by dotted path.
        tables: the strongest layer that wrote into each table, by dotted path.
    """

    tree: Mapping[str, Any]
    values: Mapping[str, Layer]
    tables: Mapping[str, Layer]

    def origin(self, path: str) -> Origin:
        """Return the origin of the value at `path`."""
        layer = self._writer(path)
        return layer.origin if layer else Origin.DEFAULT

    def source(self, path: str) -> str | None:
        """Return in words where the value or table at `path` was written; None if nobody wrote it."""
        layer = self._writer(path) or self.tables.get(path)
        return layer.source if layer else None

    def _writer(self, path: str) -> Layer | None:
        """The layer of a value is that of the list around it, if it is not known by itself."""
        while path and path not in self.values:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.values.get(path)


def merge(layers: Iterable[Layer], kinds: Iterable[PluginKind] = KINDS) -> Merged:
    """Lay the layers on top of each other, the strongest last.

    Tables are merged key by key, everything else replaces. ``task = "digits"`` is ``task.name = "digits"``, and so in
    every section that names one component; ``telemetry = "debug"`` is ``telemetry.level = "debug"``. A layer that names
    another host (task, policy, gate set, optimizer, sink) discards what weaker layers said about the former one.

    Args:
        layers: the weakest first.
        kinds: the kinds of components that may have sections.
    """
    stack = _Stack(Places.of(kinds))
    for layer in layers:
        data = _named(layer.data, stack.places)
        stack.discard_options(data)
        stack.lay(stack.tree, data, layer, "")
    return Merged(tree=stack.tree, values=stack.values, tables=stack.tables)


@define
class _Stack:
    places: Places
    tree: dict[str, Any] = field(factory=dict)
    values: dict[str, Layer] = field(factory=dict)
    tables: dict[str, Layer] = field(factory=dict)

    def discard_options(self, data: Mapping[str, Any]) -> None:
        for section, beside in self.places.beside.items():
            old, new = self.tree.get(section), data.get(section)
            if isinstance(old, dict) and isinstance(new, Mapping) and _names_another(old, new):
                self.drop(old, f"{section}.", set(old) - beside)
        for section, key in self.places.listed.items():
            old, new = self.tree.get(section), data.get(section)
            if isinstance(old, dict) and isinstance(new, Mapping) and isinstance(new.get(key), list):
                named = {name for name in new[key] if isinstance(name, str)}
                options = {name for name, value in old.items() if isinstance(value, dict)}
                self.drop(old, f"{section}.", options - named)
        for section, *keys in _EITHER:
            old, new = self.tree.get(section), data.get(section)
            if isinstance(old, dict) and isinstance(new, Mapping) and not set(keys).isdisjoint(new):
                self.drop(old, f"{section}.", [key for key in keys if key in old])

    def lay(self, table: dict[str, Any], data: Mapping[str, Any], layer: Layer, prefix: str) -> None:
        for key, value in data.items():
            path = f"{prefix}{key}"
            if not isinstance(value, Mapping):
                self.drop(table, prefix, [key])
                table[key] = value
                self.values[path] = layer
                continue
            if not isinstance(table.get(key), dict):
                self.drop(table, prefix, [key])
                table[key] = {}
            self.tables[path] = layer
            self.lay(table[key], value, layer, f"{path}.")

    def drop(self, table: dict[str, Any], prefix: str, keys: Iterable[str]) -> None:
        for key in keys:
            table.pop(key, None)
            path = f"{prefix}{key}"
            for known in (self.values, self.tables):
                for gone in [other for other in known if other == path or other.startswith(f"{path}.")]:
                    del known[gone]


def _named(data: Mapping[str, Any], places: Places) -> dict[str, Any]:
    short = dict.fromkeys(places.beside, "name") | _SHORT
    return {
        section: {short[section]: value} if isinstance(value, str) and section in short else value
        for section, value in data.items()
    }


def _names_another(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "name" in new and new["name"] != old.get("name")
