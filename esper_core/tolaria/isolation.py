"""The isolation monitor: proof, on a sampled batch, that seeds in training leave the host alone."""

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.kasmina.root_module import SEEDS
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import restored_buffers
from esper_core.leyline.protocols import Criterion
from esper_core.tolaria.data import Inputs, call
from esper_core.tolaria.incubation import forked_random_state, probe, probed_slots


def prove_isolation(
    slot_set: SlotSet, task: Criterion, inputs: Inputs, targets: Tensor, slots: Sequence[str], *, probe_alpha: float
) -> dict[str, bool]:
    """Compare what one batch does to the host with each seed acting and with it switched off.

    The passes begin with the same random state and the same buffers, and these are as before afterwards. Gradients are
    left at None: call it where the next step begins with ``zero_grad``.

    Args:
        slot_set: the live slots of the host, in training mode.
        task: gives the losses.
        inputs, targets: one batch.
        slots: the slots to examine; their seeds must be straight-through or probed.
        probe_alpha: the alpha of seeds that are probed.

    Returns:
        For each slot, whether every gradient and buffer of the host and the random state behind the batch are bit for
        bit the same (`torch.equal`). Nothing, where the host alone is not the same twice: then it is not known.
    """

    def traces(without: Sequence[str]) -> _Traces:
        with (
            restored_buffers(slot_set.model),
            forked_random_state(targets.device),
            slot_set.override(dict.fromkeys(without, 0.0)),
        ):
            slot_set.model.zero_grad(set_to_none=True)
            loss = task.losses(call(slot_set.model, inputs), targets).mean()
            if loss.requires_grad:  # without seeds nothing may be trained
                loss.backward()  # type: ignore[no-untyped-call]
            if probed := [slot for slot in probed_slots(slot_set) if slot not in without]:
                probe(slot_set, task, inputs, targets, probed, probe_alpha)
            return _Traces.of(slot_set, targets.device)

    acting = traces([])
    found = {slot: acting.same_as(traces([slot])) for slot in slots}
    return found if all(found.values()) or traces(slots).same_as(traces(slots)) else {}


@frozen
class _Traces:
    """What a batch has left on the host."""

    gradients: Sequence[Tensor | None]
    buffers: Sequence[Tensor]
    random_state: Sequence[Tensor]

    @classmethod
    def of(cls, slot_set: SlotSet, device: torch.device) -> "_Traces":
        gradients = [_taken(parameter) for parameter in slot_set.host_parameters]
        slot_set.model.zero_grad(set_to_none=True)
        of_host = (buffer for name, buffer in slot_set.model.named_buffers() if not name.startswith(f"{SEEDS}."))
        states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
        return cls(gradients, [buffer.clone() for buffer in of_host], states)

    def same_as(self, other: "_Traces") -> bool:
        return all(
            _equal(mine, theirs)
            for mine, theirs in (
                (self.gradients, other.gradients),
                (self.buffers, other.buffers),
                (self.random_state, other.random_state),
            )
        )


def _taken(parameter: nn.Parameter) -> Tensor | None:
    gradient, parameter.grad = parameter.grad, None
    return gradient


def _equal(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> bool:
    return all(
        a is None and b is None if a is None or b is None else torch.equal(a, b)
        for a, b in zip(first, second, strict=True)
    )
