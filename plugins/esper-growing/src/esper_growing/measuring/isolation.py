"""Whether seeds in training leave the host alone: proved on the user's own validation data, after every epoch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from esper_core.kasmina.undisturbed import eagerly, kept_modes
from esper_core.tolaria.data import part
from esper_core.tolaria.grower import Grower
from esper_growing.measuring.measured_data import Measurable

#: The number of samples of the first batch on which it is proved.
_SAMPLES = 64


def prove_isolation(grower: Grower, held: Measurable) -> str:
    """Compare what one batch does to the host with and without each seed in training, and keep it as evidence.

    Args:
        grower: what grows. The model, its gradients included, is left as it was.
        held: the validation data.

    Returns:
        Why it is not known; "" where it is, or there is no such seed.
    """
    inputs, targets = held.samples.batches[0]
    shown = held.batch_size or _SAMPLES
    try:
        with _as_in_training(grower.growth.slot_set.model):
            known = grower.gradients.prove_isolation(held.criterion, part(inputs, 0, shown), targets[:shown])
    except Exception as error:  # the model, or the loss, is the user's
        return f"{type(error).__name__}: {error}"
    return "" if known else "the same batch does not do the same twice, even without seeds"


@contextmanager
def _as_in_training(model: nn.Module) -> Iterator[None]:
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        with kept_modes(model), eagerly(), torch.enable_grad():
            if not model.training:
                model.train()
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
