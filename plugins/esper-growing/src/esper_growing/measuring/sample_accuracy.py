"""How right a sample is: along which axis of the outputs the classes lie, if there are any."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import cross_entropy

from esper_core.leyline.errors import EsperError

#: ``metric(outputs, targets)``: how right each sample is, (B,), 0 to 1.
Metric = Callable[[Any, Tensor], Tensor]


@frozen(kw_only=True)
class SampleAccuracy:
    """The share of targets that the largest output names.

    Attributes:
        axis: of the classes, in the outputs; None: there are none, and accuracy is not measured.
        ignored: a target with this value counts for nothing.
        how: in words.
    """

    axis: int | None
    how: str
    ignored: int | None = None

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return how right each sample is, (B,); NaN where that is not known."""
        if self.axis is None:
            return torch.full((len(targets),), float("nan"), device=targets.device)
        right: Tensor = (outputs.argmax(dim=self.axis) == targets).float().reshape(len(targets), -1)
        if self.ignored is None:
            return right.mean(1)
        counted = (targets != self.ignored).reshape(len(targets), -1)
        share: Tensor = (right * counted).sum(1) / counted.sum(1)
        return share


def find_accuracy(loss: Any, outputs: Any, targets: Tensor, ignored: int | None) -> SampleAccuracy:
    """Return how accuracy is measured where the user gives no metric.

    Targets are classes if they are whole numbers, one for each place of the outputs but the axis of the classes. That
    is the second one, as torch's losses want it, or the last; where both fit, the loss tells.

    Args:
        loss: the user's.
        outputs, targets: of one batch.
        ignored: a target with this value counts for nothing.
    """
    if not isinstance(outputs, Tensor) or targets.is_floating_point() or not outputs.is_floating_point():
        return SampleAccuracy(axis=None, how="not measured: the targets are no classes of one output")
    axes = [axis for axis in range(1, outputs.ndim) if _without(outputs, axis) == targets.shape]
    axes = [axis for axis in axes if axis in (1, outputs.ndim - 1)]
    if len(axes) > 1:
        axes = [axis for axis in axes if _agrees(loss, outputs.movedim(axis, 1), outputs, targets, ignored)]
    if len(axes) != 1:
        return SampleAccuracy(axis=None, how="not measured: it is not known which axis is that of the classes")
    (axis,) = axes
    counted = targets if ignored is None else targets[targets != ignored]
    classes = outputs.shape[axis]
    if classes < 2:
        return SampleAccuracy(axis=None, how="not measured: one output has no largest one")
    if bool((counted < 0).any()) or bool((counted >= classes).any()):
        return SampleAccuracy(axis=None, how="not measured: there are targets that no output stands for")
    how = f"the largest output along axis {axis}" + ("" if ignored is None else f", targets of {ignored} left out")
    return SampleAccuracy(axis=axis, how=how, ignored=ignored)


def check_metric(metric: Metric, outputs: Any, targets: Tensor) -> None:
    """Check that a metric gives one number from 0 to 1 for each sample.

    Raises:
        EsperError: E202 if it does not.
    """
    values = metric(outputs, targets)
    if not isinstance(values, Tensor) or values.shape != (len(targets),):
        shape = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        why = f"it gives {shape} for {len(targets)} samples"
    elif bool(((values < 0) | (values > 1)).any()):
        why = f"it gives {float(values.max()):.4g}; a share of what is right is 0 to 1, not a percentage"
    else:
        return
    fix = "return how right each sample is, (B,), 0 to 1"
    raise EsperError("E202", "the metric is not one of single samples", where="epoch_end(metric=...)", why=why, fix=fix)


def _without(outputs: Tensor, axis: int) -> tuple[int, ...]:
    return (*outputs.shape[:axis], *outputs.shape[axis + 1 :])


def _agrees(loss: Any, classes_second: Tensor, outputs: Tensor, targets: Tensor, ignored: int | None) -> bool:
    try:
        mine = cross_entropy(classes_second, targets, ignore_index=-100 if ignored is None else ignored)
        theirs = loss(outputs, targets).mean()
    except (RuntimeError, ValueError, IndexError):  # it takes no such targets
        return False
    return bool(torch.isclose(mine, theirs, rtol=1e-3))
