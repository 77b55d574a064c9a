"""What the loop itself knows, beside its hosts, as it is saved."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class LoopState:
    """Everything that the loop over some hosts needs to go on.

    Attributes:
        record: primitives, lists and dicts with string keys only.
        tensors: tensors by name.
    """

    record: Mapping[str, Any]
    tensors: Mapping[str, Any] = field(factory=dict)
