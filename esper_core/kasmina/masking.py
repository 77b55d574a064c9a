"""The padding mask that a site's submodule is called with, for the seed behind it."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from esper_core.nn import real_positions

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def mask_position(module: nn.Module, mask: int | str) -> int | None:
    """Return the place of the argument `mask` (a name or a place) among the positional ones; None if it has none."""
    if isinstance(mask, int):
        return mask
    parameters = [*inspect.signature(module.forward).parameters.values()]
    places = (place for place, one in enumerate(parameters) if one.name == mask and one.kind in _BY_POSITION)
    return next(places, None)


def takes_argument(module: nn.Module, mask: int | str) -> bool:
    """Say whether the submodule's forward has such an argument, as far as its signature tells."""
    parameters = [*inspect.signature(module.forward).parameters.values()]
    kinds = {parameter.kind for parameter in parameters}
    if isinstance(mask, int):
        return mask < len(parameters) or inspect.Parameter.VAR_POSITIONAL in kinds
    return inspect.Parameter.VAR_KEYWORD in kinds or any(parameter.name == mask for parameter in parameters)


def given_mask(
    mask: int | str, position: int | None, args: tuple[Any, ...], kwargs: Mapping[Any, Any], h: Tensor
) -> Tensor | None:
    """Return which positions of `h`, (B, T, D), are real, (B, T) of bool; None if the call has no padding mask.

    Args:
        mask: name or position of the argument.
        position: its place among positional arguments, if it has one.
        args, kwargs: of the call.
        h: the activation.

    Raises:
        ValueError: if the argument is not a mask for this activation.
    """
    if mask in kwargs:
        given = kwargs[mask]
    else:
        given = args[position] if position is not None and position < len(args) else None
    if given is None:
        return None
    if not isinstance(given, Tensor):
        raise ValueError(f"the argument {mask!r} is a {type(given).__name__}, not a tensor")
    return real_positions(given, h.shape[0], h.shape[1])
