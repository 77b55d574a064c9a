"""What a host's activations are like, which an artifact has to be for."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from esper_core.kasmina.outputs import select
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import undisturbed
from esper_tezzeret.orders import Order


class Activations:
    """The activations at a host's sites, seen in one pass when they are asked for first.

    Args:
        slot_set: the host.
        inputs: a few inputs, where the host is.
    """

    def __init__(self, slot_set: SlotSet, inputs: Tensor) -> None:
        self._slot_set = slot_set
        self._inputs = inputs
        self._seen: dict[str, Tensor] = {}

    def unlike(self, site_id: str, order: Order) -> str:
        """Say in words how the activations at a site differ from what an artifact is for; "" if they do not."""
        seen = self.at(site_id)
        dtype = str(seen.dtype).removeprefix("torch.")
        if tuple(seen.shape[1:]) != order.shape:
            return f"its activations have the shape {tuple(seen.shape[1:])}, and the artifact is for {order.shape}"
        if dtype != order.dtype:
            return f"its activations are {dtype}, and the artifact is for {order.dtype}"
        return ""

    def at(self, site_id: str) -> Tensor:
        """Return the activations at a site, as the host has made them."""
        if site_id not in self._seen:
            self._seen = _pass(self._slot_set, self._inputs)
        return self._seen[site_id]


def _pass(slot_set: SlotSet, inputs: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    handles = []

    def keep(module: nn.Module, args: Any, output: Any, site_id: str) -> None:
        seen[site_id] = select(output, slot_set.sites[site_id].output).detach()

    try:
        for site in slot_set.sites.values():
            module = slot_set.model.get_submodule(site.path)
            handles.append(module.register_forward_hook(partial(keep, site_id=site.id)))
        with undisturbed(slot_set.model):
            slot_set.model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen
