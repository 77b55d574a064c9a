"""The isolation monitor: proof, on a sampled batch, that seeds in training leave the host's gradients alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from esper_core.kasmina.bed import SeedBed
from esper_core.leyline.protocols import Task


def prove_isolation(bed: SeedBed, task: Task, inputs: Tensor, targets: Tensor, slots: Sequence[str]) -> dict[str, bool]:
    """Compare the host's gradients on one batch with each seed acting and with it switched off.

    The two passes see the same random numbers, and buffers are as before afterwards. Gradients are left at None: call
    it where the next step begins with ``zero_grad``.

    Args:
        bed: the live slots of the host, in training mode.
        task: gives the losses.
        inputs, targets: one training batch.
        slots: the slots to examine; their seeds must be straight-through.

    Returns:
        For each slot, whether every gradient of the host is bit for bit the same (`torch.equal`).
    """
    buffers = [(buffer, buffer.clone()) for buffer in bed.model.buffers()]
    try:
        acting = _host_gradients(bed, task, inputs, targets, [])
        return {
            slot: _equal(acting, _host_gradients(bed, task, inputs, targets, [slot])) if acting else False
            for slot in slots
        }
    finally:
        for buffer, saved in buffers:
            buffer.copy_(saved)


def _host_gradients(
    bed: SeedBed, task: Task, inputs: Tensor, targets: Tensor, without: Sequence[str]
) -> list[Tensor | None]:
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), bed.override(dict.fromkeys(without, 0.0)):
        bed.model.zero_grad(set_to_none=True)
        loss = task.losses(bed.model(inputs), targets).mean()
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [_taken(parameter) for parameter in bed.host_parameters]
    bed.model.zero_grad(set_to_none=True)
    return gradients


def _taken(parameter: nn.Parameter) -> Tensor | None:
    gradient, parameter.grad = parameter.grad, None
    return gradient


def _equal(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> bool:
    return all(
        a is None and b is None if a is None or b is None else torch.equal(a, b)
        for a, b in zip(first, second, strict=True)
    )
