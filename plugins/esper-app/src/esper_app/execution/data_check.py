"""Data that a network cannot be trained on is refused before the training, with the place of what is wrong."""

import torch
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import DataShape, Split, Splits

#: In targets of sequences: nothing is to be predicted here.
_IGNORED = -100


def checked(task: str, splits: Splits, shape: DataShape) -> Splits:
    """Return the splits of a task.

    Args:
        task: its name.
        splits: its data.
        shape: what it says of them.

    Raises:
        EsperError: E302 for a split without samples, with inputs and targets of different numbers, with inputs that are
            not finite, and with targets that are not classes of the task.
    """
    for name, split in (("training", splits.train), ("validation", splits.validation), ("test", splits.test)):
        if why := _wrong(split, shape):
            raise EsperError(
                "E302",
                f'the {name} split of task "{task}" cannot be used',
                where=f'task "{task}", {name} split',
                why=why,
                fix="correct the task's data, or its options",
            )
    return splits


def _wrong(split: Split, shape: DataShape) -> str:
    inputs, targets = split.inputs, split.targets
    if len(inputs) != len(targets):
        return f"it has {len(inputs)} inputs and {len(targets)} targets"
    if not len(inputs):
        return "it has no samples"
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        return f"inputs are not finite in {_samples(_any(~inputs.isfinite()))}"
    if targets.is_floating_point() and not bool(targets.isfinite().all()):
        return f"targets are not finite in {_samples(_any(~targets.isfinite()))}"
    if targets.is_floating_point():
        return ""
    beyond = (targets < 0) | (targets >= shape.outputs)
    if targets.ndim > 1:
        beyond &= targets != _IGNORED
    if not bool(beyond.any()):
        return ""
    value = int(targets[beyond][0])
    return f"a target is {value}, and classes are 0 to {shape.outputs - 1}, in {_samples(_any(beyond))}"


def _any(wrong: Tensor) -> Tensor:
    return wrong.reshape(len(wrong), -1).any(1)


def _samples(wrong: Tensor) -> str:
    indices = torch.nonzero(wrong).flatten().tolist()
    named = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f"{len(indices)} of {len(wrong)} samples: {named}"
