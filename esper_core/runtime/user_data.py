"""A user's data and loss in the shape in which a growing host measures."""

import inspect
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Split

#: ``loss(outputs, targets)``: a mean over the batch, or one loss per sample.
Loss = Callable[[Any, Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


@frozen(kw_only=True)
class UserCriterion:
    """The loss and metric of a user's own loop, as a `Criterion`.

    Attributes:
        loss: the user's, as one loss per sample, in nats.
        metric: how right each sample is, 0 to 1; None: by the largest output, NaN where targets are no classes.
    """

    loss: Callable[[Any, Tensor], Tensor]
    metric: Callable[[Any, Tensor], Tensor] | None = None

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the loss of each sample, (B,)."""
        losses = self.loss(outputs, targets)
        return losses if losses.ndim == 1 else losses.flatten(1).mean(dim=1)

    def correct(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return how right each sample is, (B,)."""
        if self.metric is not None:
            return self.metric(outputs, targets).float()
        if targets.is_floating_point() or not isinstance(outputs, Tensor):
            return torch.full((len(targets),), float("nan"))
        return (
            (outputs.argmax(dim=-1) == targets).float().flatten(1).mean(dim=1)
            if targets.ndim > 1
            else (outputs.argmax(dim=-1) == targets).float()
        )


def per_sample(loss: Loss) -> Callable[[Any, Tensor], Tensor]:
    """Return the loss as one value per sample.

    A module with a `reduction` and a function that takes one are asked for none; anything else that gives a mean is
    called on one sample at a time.
    """
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        unreduced: Any = copy(loss)
        unreduced.reduction = "none"
        return partial(_called, unreduced)
    if "reduction" in _parameters(loss):
        return lambda outputs, targets: loss(outputs, targets, reduction="none")  # type: ignore[call-arg]

    def one_by_one(outputs: Any, targets: Tensor) -> Tensor:
        whole = loss(outputs, targets)
        if whole.ndim > 0:
            return whole
        return torch.stack([loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(targets))])

    return one_by_one


def as_split(batches: Batches | Split, device: torch.device) -> Split:
    """Return all batches of a loader as resident tensors on `device`.

    Raises:
        EsperError: E302 if there are none, or they are not pairs of tensors.
    """
    if isinstance(batches, Split):
        return Split(inputs=batches.inputs.to(device), targets=batches.targets.to(device))
    pairs = [(inputs, targets) for inputs, targets in batches]
    if not pairs or not all(isinstance(part, Tensor) for pair in pairs for part in pair):
        why = "it gave no batch" if not pairs else "a batch is not a pair of tensors (inputs, targets)"
        raise EsperError("E302", "the validation data cannot be measured on", why=why, fix="give a DataLoader of pairs")
    inputs, targets = (torch.cat([pair[part] for pair in pairs]) for part in (0, 1))
    return Split(inputs=inputs.to(device), targets=targets.to(device))


def _called(loss: Callable[..., Tensor], outputs: Any, targets: Tensor) -> Tensor:
    return loss(outputs, targets)


def _parameters(function: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()
