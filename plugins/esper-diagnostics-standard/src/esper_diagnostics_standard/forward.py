"""Calling the network: with its own weights or with others, and looking at what its modules give."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from esper_core.api import NetworkView
from esper_diagnostics_standard.pending import Pending


def outputs(view: NetworkView, weights: Mapping[str, Tensor] | None = None) -> Any:
    """Return what the network gives for the batch; with `weights` in place of its own, which stay what they are."""
    positional, named = _arguments(view.inputs)
    if weights is None:
        return view.model(*positional, **named)
    return torch.func.functional_call(view.model, dict(weights), positional, named)


def loss(view: NetworkView, given: Any) -> Tensor:
    """Return the mean loss of the batch, a scalar."""
    return view.criterion.losses(given, view.targets).mean()


@contextmanager
def watching_activations(view: NetworkView, pending: Pending) -> Iterator[list[tuple[str, int]]]:
    """Yield a list to which every module that is watched adds its name and number of units when it is called."""
    seen: list[tuple[str, int]] = []
    sites = {slot.site.path for slot in view.slots}

    def look(name: str) -> Any:
        @torch.no_grad()
        def hook(module: nn.Module, arguments: Any, given: Any) -> None:
            found = _first_tensor(given)
            if found is None or not found.is_floating_point() or found.ndim < 2 or any(name == it for it, _ in seen):
                return
            axis = found.ndim - 1 if found.ndim == 3 else 1
            units = found.detach().transpose(0, axis).flatten(1)
            seen.append((name, len(units)))
            pending.add(f"rms {name}", units.square().mean().sqrt())
            pending.add(f"zeros {name}", (units == 0).float().mean())
            pending.add(f"dead {name}", (units == 0).all(1).sum())

        return hook

    watched = [
        (name, it) for name, it in view.model.named_modules() if name and (name in sites or not [*it.children()])
    ]
    handles = [module.register_forward_hook(look(name)) for name, module in watched]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _first_tensor(given: Any) -> Tensor | None:
    parts = given.values() if isinstance(given, Mapping) else given if isinstance(given, tuple | list) else (given,)
    return next((part for part in parts if isinstance(part, Tensor)), None)
