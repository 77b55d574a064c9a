"""A user's data and loss in the shape in which a growing host measures."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from attrs import define, evolve
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Split
from esper_core.tolaria.data import Inputs, Samples, each, tensors
from esper_growing.measuring.sample_accuracy import Metric, SampleAccuracy, check_metric, find_accuracy
from esper_growing.measuring.sample_loss import Loss, SampleLoss, countable, find_sample_loss, per_sample, with_ignored

#: What torch's losses leave out unless they are told another number.
_IGNORED = -100

Batches = Iterable[tuple[Inputs, Tensor]]


@define(kw_only=True)
class UserCriterion:
    """The loss and metric of a user's own loop, as a `Criterion`. What they are is found out on a first batch.

    Attributes:
        loss: the user's: a mean over the batch, or one loss per sample, in nats.
        metric: how right each sample is, 0 to 1; None: by the largest output, NaN where there are no classes.
    """

    loss: Loss
    metric: Metric | None = None
    _sample: SampleLoss | None = None
    _accuracy: Metric | None = None

    @property
    def confirmed(self) -> bool:
        """It is known what loss and metric are."""
        return self._sample is not None

    @property
    def how(self) -> str:
        """What was found, in words."""
        if self._sample is None:
            return "not confirmed yet"
        found = self._accuracy.how if isinstance(self._accuracy, SampleAccuracy) else "by the metric that was given"
        return f"loss: {self._sample.how}; accuracy: {found}"

    @property
    def across(self) -> bool:
        """The loss of a sample depends on the others in its batch."""
        return self._sample is not None and self._sample.across

    def confirm(self, outputs: Any, targets: Tensor) -> None:
        """Find out what loss and metric are; a batch whose loss is not finite tells nothing.

        Raises:
            EsperError: E202 if the loss of the batch is not a mean over its samples, or the metric does not fit.
        """
        with torch.no_grad():
            found = find_sample_loss(self.loss, outputs, targets)
            if found is None:
                return
            if self.metric is not None:
                check_metric(self.metric, outputs, targets)
            accuracy = find_accuracy(self.loss, outputs, targets, found.ignored)
            if accuracy.axis is not None and found.ignored is None:
                # Classes are no negative numbers: a later batch may have targets that are not to be predicted.
                unasked = getattr(self.loss, "ignore_index", _IGNORED)
                found, accuracy = with_ignored(found, unasked), evolve(accuracy, ignored=unasked)
            self._sample, self._accuracy = found, self.metric or accuracy

    def countable(self, targets: Tensor) -> Tensor:
        """Return which samples count, (B,) of bool: those with a target that is not ignored."""
        return countable(targets, None if self._sample is None else self._sample.ignored)

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the loss of each sample, (B,)."""
        if self._sample is None:
            self.confirm(outputs, targets)
        return (self._sample.losses if self._sample is not None else per_sample(self.loss))(outputs, targets)

    def correct(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return how right each sample is, (B,)."""
        if self._accuracy is None:
            return torch.full((len(targets),), float("nan"), device=targets.device)
        return self._accuracy(outputs, targets).float()


def read_batches(batches: Batches | Split) -> list[tuple[Inputs, Tensor]]:
    """Return all batches of a loader.

    Raises:
        EsperError: E302 if there are none, or they are not pairs of inputs and targets.
    """
    with torch.random.fork_rng(devices=[]):  # a loader draws a number when it is iterated over
        pairs: list[tuple[Inputs, Tensor]]
        pairs = [(batches.inputs, batches.targets)] if isinstance(batches, Split) else [*map(_pair, batches)]
    if not pairs:
        raise _unmeasurable("it gave no batch")
    return pairs


def as_samples(pairs: Iterable[tuple[Inputs, Tensor]], device: torch.device) -> Samples:
    """Return batches as resident tensors on `device`; neighbours of one shape become one batch."""
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
            if targets.ndim and parts[0].ndim and len(parts[0]) != len(targets):
                raise _unmeasurable(f"a batch has {len(parts[0])} inputs and {len(targets)} targets")
            return inputs, targets
    raise _unmeasurable("a batch is not a pair (inputs, targets) of tensors, or of several input tensors and a target")


def _unmeasurable(why: str) -> EsperError:
    return EsperError(
        "E302", "nothing can be measured on the validation data", why=why, fix="give a DataLoader of pairs"
    )


def _shapes(pair: tuple[Inputs, Tensor]) -> Any:
    inputs, targets = pair
    names = tuple(inputs) if isinstance(inputs, Mapping) else type(inputs)
    return names, [tensor.shape[1:] for tensor in (*tensors(inputs), targets)]


def _joined(group: list[tuple[Inputs, Tensor]], device: torch.device) -> tuple[Inputs, Tensor]:
    columns = zip(*(tensors(inputs) for inputs, _ in group), strict=True)
    joined = iter([torch.cat(column).to(device) for column in columns])
    inputs = each(group[0][0], lambda _: next(joined))
    return inputs, torch.cat([targets for _, targets in group]).to(device)
