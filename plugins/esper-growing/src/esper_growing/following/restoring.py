"""A saved state is restored whole or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from esper_core.leyline.errors import EsperError

if TYPE_CHECKING:
    from esper_growing.handle import GrowthHandle


@contextmanager
def all_or_nothing(handle: "GrowthHandle") -> Iterator[None]:
    """Bring a handle back as it was where what it is given cannot be restored, and say so.

    Raises:
        EsperError: E502.
    """
    before = handle.state_dict() if handle.begun else None
    planted = before is not None and bool(handle.growth.slot_set.slots)
    weights = deepcopy((handle.model.state_dict(), handle.optimizer.state_dict())) if planted else None
    try:
        yield
    except Exception as error:  # a state from elsewhere can lead anywhere, into plugins too
        _forget(handle) if before is None else go_on(handle, before)
        if weights is not None:
            handle.model.load_state_dict(weights[0])
            handle.optimizer.load_state_dict(weights[1])
        if isinstance(error, EsperError) and error.code == "E502":
            raise
        why = f"{type(error).__name__}: {error.what if isinstance(error, EsperError) else error}"
        fix = "give what handle.state_dict() has returned"
        raise EsperError("E502", "the saved state of the growth is damaged", why=why, fix=fix) from error


def go_on(handle: "GrowthHandle", state: Mapping[str, Any]) -> None:
    """Bring a handle whose sites are confirmed to a state."""
    steps, length = int(state["steps"]), state["steps_per_epoch"]
    handle._known.restore(state)
    handle._hooks.go_on(steps, None if length is None else int(length))


def _forget(handle: "GrowthHandle") -> None:
    """Take the slots back that were made for a state."""
    if handle._hooks.seeds is not None:
        handle._hooks.seeds.stop()
    if handle.begun:
        handle.growth.clear()
    handle._session = handle._hooks.grower = handle._hooks.seeds = None
