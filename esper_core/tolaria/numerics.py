"""How a host's steps are computed: forward passes, gradients and updates of weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from esper_core.kasmina.slot_set import SlotSet


class Numerics:
    """Computes eagerly and in the precision of the weights. What computes otherwise derives from it.

    Every host has one of its own. It may put hooks on the host's root module, for whatever calls the host. It changes
    nothing else, and what it does to the host must not depend on the host's seeds.
    """

    def prepare(self, slot_set: SlotSet) -> None:
        """Take a host whose sites are confirmed. Raises EsperError if it cannot be computed like this."""

    def forward(self, slot_set: SlotSet, inputs: Tensor) -> Any:
        """Return what the host, in training mode, makes of the batch of a step; losses are taken in full precision."""
        return slot_set.model(inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, a 0-dimensional tensor, to those of the parameters."""
        loss.backward()  # type: ignore[no-untyped-call]

    def unscale(self, slot_set: SlotSet) -> None:
        """Make the gradients those of the loss, before anything looks at them or clips them."""

    def gathered(self, slot_set: SlotSet) -> None:
        """Take note that all gradients of the step are there, those of probed seeds too (`incubation`)."""

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights."""
        optimizer.step()

    def notices(self) -> tuple[str, ...]:
        """Return what a person should know of the epoch that has just been trained; asking again gives nothing."""
        return ()

    def summary(self) -> Mapping[str, Any]:
        """Return how the host was computed so far, as plain data."""
        return {}

    def record(self) -> Mapping[str, Any]:
        """Return what later steps depend on, as plain data."""
        return {}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from what was recorded."""
