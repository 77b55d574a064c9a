"""Autocast around every forward pass of a host, and loss scaling in which seeds and host overflow apart."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from esper_core.kasmina.slot_set import SlotSet


@define
class Autocast:
    """Hooks on a root module: each of its forward passes is one autocast region, and gives float32.

    Whatever calls the network, training, counterfactuals, a diagnostic, computes as all others do. No casts of weights
    are kept from one pass to the next, in front of which a state may have been restored, not even inside of a region of
    somebody else's. Losses are taken outside, in float32.

    Attributes:
        device_type: such as ``cpu``.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
    """

    device_type: str
    dtype: torch.dtype
    _entered: list[torch.autocast] = field(factory=list)

    def install(self, model: nn.Module) -> None:
        """Let every forward pass of the model be a region from now on."""
        model.register_forward_pre_hook(self._enter)
        model.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, args: Any) -> None:
        torch.clear_autocast_cache()
        region = torch.autocast(self.device_type, dtype=self.dtype)
        region.__enter__()  # type: ignore[no-untyped-call]
        self._entered.append(region)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> Any:
        # Called for a pass that raises as well, also where that was before `_enter`.
        if self._entered:
            self._entered.pop().__exit__(None, None, None)
        return tree_map(_full, output)


def _full(leaf: Any) -> Any:
    half = isinstance(leaf, Tensor) and leaf.dtype in (torch.float16, torch.bfloat16)
    return leaf.float() if half else leaf


class LossScaler:
    """A `torch.amp.GradScaler` that the host alone decides about.

    There is one backward pass, so there is one scale, and it is the one that suits the host: torch's scaler is shown
    the host's gradients and no others. A seed with a gradient that is not finite sits the step out alone. In a step in
    which the host's overflow nothing is updated. Where the host has no gradients, the seeds are what decides.

    Args:
        device_type: ``cuda``, or ``cpu``.
        initial_scale: of the loss.
    """

    def __init__(self, device_type: str, initial_scale: float = 2.0**16) -> None:
        self._scaler = torch.amp.GradScaler(device_type, init_scale=initial_scale)
        self._seeds: dict[str, list[nn.Parameter]] = {}
        #: In how many steps the gradients of the host, and of a seed, by slot, were not finite.
        self.overflowed: dict[str, int] = {}

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the scaled loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, slot_set: SlotSet) -> None:
        """Divide all gradients by the scale."""
        self._seeds = {}
        if any(parameter.grad is not None for parameter in slot_set.host_parameters):
            self._seeds = {slot: slot_set.seed_parameters(slot) for slot in slot_set.slots}
        taken = {p: p.grad for mine in self._seeds.values() for p in mine if p.grad is not None}
        for parameter in taken:
            parameter.grad = None
        self._scaler.unscale_(slot_set.optimizer)
        inverse = 1.0 / self._scaler.get_scale()
        for parameter, gradient in taken.items():
            parameter.grad = gradient.mul_(inverse)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update what has finite gradients, and the scale."""
        for slot, parameters in self._seeds.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            if not all(bool(gradient.isfinite().all()) for gradient in gradients):
                self._count(slot)
                for parameter in parameters:
                    parameter.grad = None
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        if self._scaler.get_scale() < before:
            self._count("host")

    def record(self) -> dict[str, Any]:
        """Return the scale and the counts as plain data."""
        return {"scaler": dict(self._scaler.state_dict()), "overflowed": dict(self.overflowed)}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from what was recorded."""
        self._scaler.load_state_dict(dict(record["scaler"]))
        self.overflowed = dict(record["overflowed"])

    def _count(self, origin: str) -> None:
        self.overflowed[origin] = self.overflowed.get(origin, 0) + 1
