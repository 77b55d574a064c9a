"""Probe incubation: a second pass in each step trains seeds at a small alpha, and nothing else notices."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import restored_buffers
from esper_core.leyline.protocols import Criterion
from esper_core.tolaria.data import Inputs, call


def probed_slots(slot_set: SlotSet) -> list[str]:
    """Return the slots whose seeds are trained by `probe`."""
    return [name for name, held in slot_set.slots.items() if held.forward_mode is ForwardMode.PROBE and held.attached]


def probe(
    slot_set: SlotSet, task: Criterion, inputs: Inputs, targets: Tensor, slots: Sequence[str], alpha: float
) -> None:
    """Give the seeds of some slots the gradient of the loss that the network has with all of them at a small alpha.

    One pass serves all seeds: each sees the others at the same alpha, which costs a pass for the step and not one for
    each seed. At birth, when every update is zero, that makes no difference.

    The loss is divided by alpha. So the gradients are those of straight-through training for an alpha near zero, and
    at birth for any; they can be compared with the host's in the same way, and SGD need not be told of alpha. What
    straight-through training lacks is in them: how the loss bends as the update grows.

    The host's parameters get no gradient. Its buffers (running statistics) and the random state are as before
    afterwards. The pass runs when the graph of the step's own pass is gone already: it needs no more memory.

    Args:
        slot_set: the live slots of the host, in training mode.
        task: gives the losses.
        inputs, targets: the training batch of the step.
        slots: whose seeds are trained; their gradients are replaced. Without any, nothing is done.
        alpha: above 0.
    """
    parameters = [p for slot in slots for p in slot_set.seed_parameters(slot) if p.requires_grad]
    if not parameters:
        return
    for parameter in parameters:
        parameter.grad = None
    seeds = [slot_set.slots[slot] for slot in slots]
    with (
        restored_buffers(slot_set.model, besides=seeds),
        forked_random_state(targets.device),
        _only(slot_set.model, parameters),
        slot_set.override(dict.fromkeys(slots, alpha)),
    ):
        loss = task.losses(call(slot_set.model, inputs), targets).mean() / alpha
        if loss.requires_grad:  # a host may leave the sites out of a pass
            # Under the override as well: activation checkpointing runs the slots again here.
            loss.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _only(model: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let nothing of a model but some parameters require gradients.

    Not `torch.autograd.grad` of those: it leaves the gradients of inputs out that the backward of a channels_last
    GroupNorm computes on the CPU, and without them it ends the process (torch 2.13). This is cheaper as well: there is
    no graph in front of the first seed.
    """
    wanted = {id(parameter) for parameter in parameters}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in wanted]
    try:
        for parameter in others:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_()


@contextmanager
def forked_random_state(device: torch.device) -> Iterator[None]:
    """Bring the random state of the CPU, and of the device if it is a GPU, back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
