"""What is known of a run before it begins: how large its ungrown host is, what an epoch costs, what is trivial."""

import json
from collections.abc import Sequence
from math import isnan

import torch
from attrs import frozen
from torch import Tensor

from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.compute_control import epoch_flops, host_cost
from esper_core.leyline.protocols import Splits, Task
from esper_core.plugins.plugin_set import PluginSet


@frozen(kw_only=True)
class Prospect:
    """What is known of a run before it begins.

    Attributes:
        parameters: of the ungrown host.
        forward_flops: of one sample's forward pass; None where it cannot be counted.
        epoch_flops: of an epoch of the ungrown host, training and evaluation, as a run counts them; None likewise.
        constant_loss: the loss in nats on the test split of the best constant answer to the training split: the shares
            of its classes, or the mean of its targets.
        constant_accuracy: its accuracy, 0 to 1; None where the task has none.
    """

    parameters: int
    forward_flops: int | None
    epoch_flops: int | None
    constant_loss: float
    constant_accuracy: float | None


def prospects(configurations: Sequence[ResolvedConfig], plugins: PluginSet) -> tuple[Prospect, ...]:
    """Return what is known of runs; the data of runs with the same task and options are loaded once.

    Raises:
        EsperError: whatever keeps a run from beginning.
    """
    loaded: dict[str, Splits] = {}
    found = []
    for resolved in configurations:
        key = json.dumps(resolved.config.tree()["task"], sort_keys=True, default=str)

        def load(task: Task, key: str = key) -> Splits:
            if key not in loaded:
                loaded[key] = task.load()
            return loaded[key]

        found.append(_prospect(assemble(resolved.config, plugins, load)))
    return tuple(found)


def _prospect(assembly: Assembly) -> Prospect:
    parameters, cost = host_cost(assembly)
    loss, accuracy = constant_answer(assembly.task, assembly.splits)
    return Prospect(
        parameters=parameters,
        forward_flops=None if cost is None else cost.total,
        epoch_flops=epoch_flops(assembly),
        constant_loss=loss,
        constant_accuracy=accuracy,
    )


@torch.no_grad()
def constant_answer(task: Task, splits: Splits) -> tuple[float, float | None]:
    """Return test loss in nats and test accuracy, 0 to 1, of an answer that does not look at its input.

    Classes have the shares that they have in the training split, each counted once more than it is there (Laplace,
    1814), so that one which is in the test split alone costs a finite loss; numbers have the training split's mean.

    Args:
        task: gives losses and right answers.
        splits: its data; targets of classes are (N,) or (N, T), -100 where nothing is asked.
    """
    train, test = splits.train.targets, splits.test.targets
    answer = train.mean(dim=0) if train.is_floating_point() else _shares(train, task.shape.outputs).log()
    losses, right = [], []
    for part in torch.split(test, _LOT):
        outputs = _repeated(answer, part)
        losses.append(task.losses(outputs, part))
        right.append(task.correct(outputs, part))
    accuracy = float(torch.cat(right).double().mean())
    return float(torch.cat(losses).double().mean()), None if isnan(accuracy) else accuracy


#: Samples that are answered together.
_LOT = 64


def _repeated(answer: Tensor, targets: Tensor) -> Tensor:
    shape = targets.shape[:1] if targets.is_floating_point() else targets.shape
    return answer.expand(*shape, *answer.shape)


def _shares(targets: Tensor, classes: int) -> Tensor:
    counts = targets[targets >= 0].flatten().bincount(minlength=classes).float() + 1
    return counts / counts.sum()
