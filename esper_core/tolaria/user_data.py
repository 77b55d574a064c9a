"""A user's data and loss in the shape in which a growing host measures."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any, cast

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Split
from esper_core.tolaria.data import Inputs, Samples, each, tensors

#: ``loss(outputs, targets)``: a mean over the batch, or one loss per sample.
Loss = Callable[[Any, Tensor], Tensor]
#: ``metric(outputs, targets)``: how right each sample is, (B,), 0 to 1.
Metric = Callable[[Any, Tensor], Tensor]
Batches = Iterable[tuple[Inputs, Tensor]]


@frozen(kw_only=True)
class UserCriterion:
    """The loss and metric of a user's own loop, as a `Criterion`.

    Attributes:
        loss: the user's, as one loss per sample, in nats.
        metric: how right each sample is, 0 to 1; None: by the largest output, NaN where targets are no classes.
    """

    loss: Callable[[Any, Tensor], Tensor]
    metric: Metric | None = None

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
    """Return the loss as one row of values per sample.

    A module with a `reduction` and a function that takes one are asked for none. Whatever gives no row for each sample
    all the same (a mean, or a value for each position of a batch that it flattens) is called on one sample at a time.
    """
    unreduced = _unreduced(loss)

    def losses(outputs: Any, targets: Tensor) -> Tensor:
        whole = unreduced(outputs, targets)
        if whole.ndim > 0 and len(whole) == len(targets):
            return whole
        return torch.stack([loss(_sample(outputs, i), targets[i : i + 1]).mean() for i in range(len(targets))])

    return losses


def as_samples(batches: Batches | Split, device: torch.device) -> Samples:
    """Return all batches of a loader as resident tensors on `device`; neighbours of one shape become one batch.

    Raises:
        EsperError: E302 if there are none, or they are not pairs of inputs and targets.
    """
    with torch.random.fork_rng(devices=[]):  # a loader draws a number when it is iterated over
        pairs = [(batches.inputs, batches.targets)] if isinstance(batches, Split) else [*map(_pair, batches)]
    if not pairs:
        raise _unmeasurable("it gave no batch")
    groups: list[list[tuple[Inputs, Tensor]]] = []
    for pair in pairs:
        if groups and _shapes(groups[-1][0]) == _shapes(pair):
            groups[-1].append(pair)
        else:
            groups.append([pair])
    return Samples(batches=tuple(_joined(group, device) for group in groups))


def _pair(batch: Any) -> tuple[Inputs, Tensor]:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        parts = [*inputs.values()] if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else [inputs]
        if parts and all(isinstance(part, Tensor) for part in (*parts, targets)):
            return inputs, targets
    raise _unmeasurable("a batch is not a pair (inputs, targets) of tensors, or of several input tensors and a target")


def _unmeasurable(why: str) -> EsperError:
    return EsperError("E302", "the validation data cannot be measured on", why=why, fix="give a DataLoader of pairs")


def _shapes(pair: tuple[Inputs, Tensor]) -> Any:
    inputs, targets = pair
    names = tuple(inputs) if isinstance(inputs, Mapping) else type(inputs)
    return names, [tensor.shape[1:] for tensor in (*tensors(inputs), targets)]


def _joined(group: list[tuple[Inputs, Tensor]], device: torch.device) -> tuple[Inputs, Tensor]:
    columns = zip(*(tensors(inputs) for inputs, _ in group), strict=True)
    joined = iter([torch.cat(column).to(device) for column in columns])
    inputs = each(group[0][0], lambda _: next(joined))
    return inputs, torch.cat([targets for _, targets in group]).to(device)


def _sample(outputs: Any, index: int) -> Any:
    """One sample of whatever a network gives out."""
    return tree_map(lambda leaf: leaf[index : index + 1] if isinstance(leaf, Tensor) and leaf.ndim else leaf, outputs)


def _unreduced(loss: Loss) -> Loss:
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        unreduced: Any = copy(loss)
        unreduced.reduction = "none"
        return cast(Loss, unreduced)
    asked: Callable[..., Tensor] = loss
    return partial(asked, reduction="none") if "reduction" in _parameters(loss) else loss


def _parameters(function: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()
