"""Reading and replacing the tensor inside a submodule's output."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def select(output: Any, key: int | str | None) -> Any:
    """Return the part of `output` that `key` names: the whole, a tuple's element, or a mapping's value.

    Raises:
        LookupError: if there is no such part.
    """
    if key is None:
        return output
    indexed = isinstance(key, int) and isinstance(output, tuple | list)
    named = isinstance(key, str) and isinstance(output, Mapping)
    if indexed or named:
        return output[key]
    raise LookupError(f"{type(output).__name__} has no element {key!r}")


def replace(output: Any, key: int | str | None, tensor: Tensor) -> Any:
    """Return `output` with the part that `key` names replaced by `tensor`; `output` itself stays as it is."""
    if key is None:
        return tensor
    if isinstance(output, tuple):
        parts = [*output]
        parts[key] = tensor  # type: ignore[index]
        return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
    changed = copy.copy(output)
    changed[key] = tensor
    return changed
