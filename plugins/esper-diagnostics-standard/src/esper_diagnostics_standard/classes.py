"""How right the network is about each class."""

from typing import Any

import torch
from torch import Tensor

from esper_core.api import NetworkView
from esper_diagnostics_standard.findings import ClassFigures
from esper_diagnostics_standard.pending import Pending


def look_at_classes(view: NetworkView, given: Any, pending: Pending, *, confusion: bool) -> None:
    """Have the accuracy brought over, and that of every class, where each sample has one class."""
    correct = view.criterion.correct(given, view.targets).detach()
    pending.add("correct", correct.float().mean())
    if not _has_classes(given, view.targets):
        return
    one_hot = _one_hot(view.targets, given.shape[1])
    pending.add("class samples", one_hot.sum(0))
    pending.add("class correct", correct.to(one_hot.dtype) @ one_hot)
    if confusion:
        pending.add("confusion", one_hot.T @ _one_hot(given.detach().argmax(1), given.shape[1]))


def class_figures(pending: Pending) -> tuple[ClassFigures, ...]:
    """Return what came over of every class; none where samples have none, or there is no accuracy."""
    accuracy = pending.one("correct")
    if "class samples" not in pending or accuracy != accuracy:
        return ()
    both = zip(pending.all("class samples"), pending.all("class correct"), strict=True)
    return tuple(
        ClassFigures(index=index, samples=int(samples), accuracy=right / samples if samples else None)
        for index, (samples, right) in enumerate(both)
    )


def confusion_rows(pending: Pending, classes: int) -> tuple[tuple[int, ...], ...]:
    """Return how often each class was taken for each other, a row for each class."""
    if "confusion" not in pending or not classes:
        return ()
    counts = [int(count) for count in pending.all("confusion")]
    return tuple(tuple(counts[start : start + classes]) for start in range(0, len(counts), classes))


def _has_classes(given: Any, targets: Tensor) -> bool:
    return isinstance(given, Tensor) and given.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point()


def _one_hot(targets: Tensor, classes: int) -> Tensor:
    """(B,) -> (B, classes) of floats; a target that is no class has none. Nothing waits for the device."""
    return (targets[:, None] == torch.arange(classes, device=targets.device)).float()
