"""A task under test: how it is built, and whether its data are there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Split, TargetKind, Task
from esper_core.leyline.specs import TaskSpec
from esper_testing.check import NotApplicable
from esper_testing.subject import Subject
from esper_testing.usage import Usage, picture

#: Samples of a batch that losses are computed for.
BATCH = 6


@frozen(kw_only=True)
class TaskSubject(Subject[TaskSpec]):
    """What the task checks look at.

    Attributes:
        overlap_limit: what share of the samples of a split may also occur in another one. Real data have duplicates.
    """

    uses: ClassVar[int] = 100

    overlap_limit: float = 0.01
    _missing: list[str] = field(factory=list, init=False, eq=False, repr=False)

    def build(self) -> Task:
        """Return a new task whose data are there.

        Raises:
            NotApplicable: if they are not (E301).
        """
        if self._missing:  # some look for their data on the net, and patiently
            raise NotApplicable(self._missing[0])
        task: Task = self.factory(self.config)
        try:
            task.load()
        except EsperError as error:
            if error.code != "E301":
                raise
            self._missing.append(f"its data are not here: {error.fix or error.what}")
            raise NotApplicable(self._missing[0]) from error
        return task

    def build_any(self) -> None:
        """Build the task, without its data."""
        self.factory(self.config)

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Augment a batch, and compute losses and metrics of made-up outputs."""
        task = self.build()
        inputs, (outputs, targets) = task.load().train.inputs[:BATCH].clone(), batch_of(task)

        def use() -> Any:
            return (
                task.augment(inputs, Generator().manual_seed(3)).clone(),
                task.losses(outputs, targets).detach(),
                task.correct(outputs.detach(), targets),
            )

        yield Usage(use=use, handed=[inputs, outputs, targets])

    def fingerprint(self) -> Any:
        """Return its data, their identity, and what `usage` does."""
        task = self.build()
        data = {name: (picture(split.inputs), picture(split.targets)) for name, split in splits_of(task).items()}
        with self.usage() as usage:
            return data, dict(task.identity), task.shape, task.random_guess_loss, usage.use()


def batch_of(task: Task, size: int = BATCH) -> tuple[Tensor, Tensor]:
    """Return random outputs and the targets of some training samples, repeated where there are few."""
    targets = task.load().train.targets
    targets = targets.repeat(-(-size // len(targets)), *(1 for _ in targets.shape[1:]))[:size]
    axes = (size,) if task.shape.targets is TargetKind.NUMBERS else tuple(targets.shape)
    outputs = torch.randn(*axes, task.shape.outputs, generator=Generator().manual_seed(0))
    return outputs.requires_grad_(), targets


def splits_of(task: Task) -> dict[str, Split]:
    """Return the splits by name."""
    found = task.load()
    return {"train": found.train, "validation": found.validation, "test": found.test}
