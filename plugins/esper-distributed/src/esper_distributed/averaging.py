"""Gradients of a run's host, averaged over the processes that train it, in each step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from esper_core.kasmina.slot_set import SlotSet
from esper_core.tolaria.incubation import probed_slots
from esper_core.tolaria.numerics import Numerics
from esper_distributed.buckets import in_buckets, packed, unpacked
from esper_distributed.ranks import Ranks
from esper_distributed.shares import SharedBatches


class AveragedNumerics(Numerics):
    """Computes as other numerics do, each process on its share of a batch, and steps with the whole batch's gradient.

    Gradients are averaged as they come from backward, still scaled: what overflows in one process overflows in all.
    Those of probed seeds come from a pass of their own, and are averaged behind it. Which parameters there are follows
    from the topology alone, also where a seed has failed in one process.

    Args:
        inner: how this process computes.

    Attributes, of which the first two are set before the first step:
        ranks: the processes.
        batches: know how large this process's share of a batch is.
        during: says when it is, for messages.
        said: what a person should know of how the processes work together in an epoch.
    """

    ranks: Ranks
    batches: SharedBatches

    def __init__(self, inner: Numerics) -> None:
        self.inner = inner
        self.during = ""
        self.said: tuple[str, ...] = ()

    def prepare(self, slot_set: SlotSet) -> None:
        """Take a host. Raises EsperError if it cannot be computed like this."""
        self._slot_set = slot_set
        self.inner.prepare(slot_set)

    def forward(self, slot_set: SlotSet, inputs: Tensor) -> Any:
        """Return what the host makes of this process's share of a batch."""
        return self.inner.forward(slot_set, inputs)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the loss on the whole batch. Raises EsperError E652 if a process is lost."""
        self.inner.backward(loss)
        probed = {*probed_slots(self._slot_set)}
        slots = [slot for slot in self._slot_set.slots if slot not in probed]
        self._average([*self._slot_set.host_parameters, *self._seeds(slots)])

    def unscale(self, slot_set: SlotSet) -> None:
        """Make the gradients those of the loss."""
        self.inner.unscale(slot_set)

    def gathered(self, slot_set: SlotSet) -> None:
        """Average the gradients of probed seeds. Raises EsperError E652 if a process is lost."""
        self._average(self._seeds(probed_slots(slot_set)))
        self.inner.gathered(slot_set)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights, in all processes alike."""
        self.inner.step(optimizer)

    def notices(self) -> tuple[str, ...]:
        """Return what a person should know of the epoch."""
        return (*self.inner.notices(), *self.said)

    def summary(self) -> Mapping[str, Any]:
        """Return how the host was computed."""
        return self.inner.summary()

    def record(self) -> Mapping[str, Any]:
        """Return what later steps depend on; it is that of one process."""
        return self.inner.record()

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from what was recorded."""
        self.inner.restore(record)

    def _seeds(self, slots: Sequence[str]) -> list[nn.Parameter]:
        return [parameter for slot in slots for parameter in self._slot_set.seed_parameters(slot)]

    def _average(self, parameters: Sequence[nn.Parameter]) -> None:
        buckets = [*in_buckets([parameter for parameter in parameters if parameter.requires_grad])]
        with torch.no_grad():
            flats = [packed(bucket, lambda parameter: parameter.grad).mul_(self.batches.weight) for bucket in buckets]
            self.ranks.total(self.during, flats)
            for bucket, flat in zip(buckets, flats, strict=True):
                for parameter, gradient in unpacked(bucket, flat):
                    if parameter.grad is None:
                        parameter.grad = gradient.clone()
                    else:
                        parameter.grad.copy_(gradient)
