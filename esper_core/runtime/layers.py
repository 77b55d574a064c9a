"""Configuration in layers: later ones win, and each value remembers where it came from."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen


class Origin(StrEnum):
    """Where a value comes from, weakest first."""

    DEFAULT = "default"
    TASK = "task"
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
        written: the layer of each value, by dotted path.
    """

    tree: Mapping[str, Any]
    written: Mapping[str, Layer]

    def layer_of(self, path: str) -> Layer | None:
        """Return the layer that wrote the value at `path`, or the list or table around it."""
        while path:
            if path in self.written:
                return self.written[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return None

    def origin(self, path: str) -> Origin:
        """Return the origin of the value at `path`."""
        layer = self.layer_of(path)
        return layer.origin if layer else Origin.DEFAULT

    def source(self, path: str) -> str | None:
        """Return in words where the value at `path` was written."""
        layer = self.layer_of(path)
        return layer.source if layer else None


#: Sections whose remaining keys belong to what the key ``name`` names; the keys listed here do not.
COMMON_KEYS: Mapping[str, frozenset[str]] = {
    "task": frozenset({"name"}),
    "host": frozenset({"name"}),
    "policy": frozenset({"name", "blueprints"}),
    "gates": frozenset({"name"}),
    "optimizer": frozenset({"name", "warmup_epochs", "schedule", "seed_lr_multiplier", "clip_norm"}),
}


def merge(layers: Iterable[Layer]) -> Merged:
    """Lay the layers on top of each other, the strongest last.

    Tables are merged key by key, everything else replaces. A layer that names another host (task, policy, gate set,
    optimizer, sink) discards what weaker layers said about the former one.
    """
    tree: dict[str, Any] = {}
    written: dict[str, Layer] = {}
    for layer in layers:
        _discard_options(tree, written, layer.data)
        _lay(tree, written, layer.data, layer, "")
    return Merged(tree=tree, written=written)


def _discard_options(tree: dict[str, Any], written: dict[str, Layer], data: Mapping[str, Any]) -> None:
    for section, common in COMMON_KEYS.items():
        old, new = tree.get(section), data.get(section)
        if isinstance(old, dict) and isinstance(new, Mapping) and new.get("name", old.get("name")) != old.get("name"):
            _drop(old, written, f"{section}.", set(old) - common)
    old, new = tree.get("sinks"), data.get("sinks")
    if isinstance(old, dict) and isinstance(new, Mapping) and isinstance(new.get("names"), list):
        _drop(old, written, "sinks.", set(old) - {"names", *new["names"]})


def _drop(table: dict[str, Any], written: dict[str, Layer], prefix: str, keys: Iterable[str]) -> None:
    for path in [f"{prefix}{key}" for key in keys]:
        table.pop(path.removeprefix(prefix), None)
        for gone in [other for other in written if other == path or other.startswith(f"{path}.")]:
            del written[gone]


def _lay(tree: dict[str, Any], written: dict[str, Layer], data: Mapping[str, Any], layer: Layer, prefix: str) -> None:
    for key, value in data.items():
        if not isinstance(value, Mapping):
            _drop(tree, written, prefix, [key])
            tree[key] = value
            written[f"{prefix}{key}"] = layer
            continue
        if not isinstance(tree.get(key), dict):
            _drop(tree, written, prefix, [key])
            tree[key] = {}
        _lay(tree[key], written, value, layer, f"{prefix}{key}.")
