"""A task and a host under inspection: data once, a host's outputs in every batch, values in a sample of batches."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from esper_core.leyline.protocols import DataShape, HostBuild, Splits, TargetKind, Task, TaskKind
from esper_testing.watching.inspection import GlobalRandom, Inspection


@frozen
class InspectedHost:
    """A host's factory whose result is looked at: a network, and sites that are submodules of it, each named once."""

    build: Callable[[], HostBuild]
    title: str
    inspection: Inspection

    def __call__(self) -> HostBuild:
        """Build the host."""
        build = self.build()
        with self.inspection as inspection:
            if not isinstance(build, HostBuild) or not isinstance(build.module, torch.nn.Module):
                seen, fix = f"built {build!r:.80}", "return HostBuild(module=..., sites=...)"
                inspection.broken(self.title, seen, cause="a factory that returns the network alone", fix=fix)
            names = [site.id or site.path for site in build.sites]
            known = {name for name, _ in build.module.named_modules()}
            wrong = [site.path for site in build.sites if site.path not in known]
            if wrong or len(set(names)) < len(names):
                seen = f"names sites that are not there: {wrong}" if wrong else f"names a site twice: {names}"
                fix = "name submodules as in named_modules(), each once"
                inspection.broken(self.title, seen, cause="a submodule that was renamed", fix=fix)
        return build


@frozen
class InspectedTask:
    """A task whose losses, metric and augmentation are looked at, and with them the outputs of the host.

    Looked at in every batch: shapes and dtypes. In a sample: finite losses for finite outputs, a metric from 0 to 1,
    and that `augment` leaves its input and the global generators alone.
    """

    task: Task
    title: str
    host: str
    inspection: Inspection

    @property
    def shape(self) -> DataShape:
        """As the task says."""
        return self.task.shape

    @property
    def random_guess_loss(self) -> float:
        """As the task says."""
        return self.task.random_guess_loss

    @property
    def identity(self) -> Mapping[str, Any]:
        """As the task says."""
        return self.task.identity

    def load(self) -> Splits:
        """Load all three splits."""
        return self.task.load()

    def require_sound(self, splits: Splits) -> None:
        """Look at the data, once.

        Raises:
            EsperError: E530.
        """
        with self.inspection:
            for name, split in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
                wrong = _wrong_split(self.shape, split.inputs, split.targets)
                if wrong is not None:
                    cause = "data that are not scaled or cast, or a shape that was written down for other data"
                    self._broken(f"has a {name} split with {wrong}", cause, "keep to what `shape` says")

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return a training batch, augmented."""
        with self.inspection as inspection:
            close = inspection.due(self.title, "augment")
            kept = (inputs.clone(), GlobalRandom()) if close else None
        augmented = self.task.augment(inputs, generator)
        with self.inspection as inspection:
            if augmented.shape != inputs.shape or augmented.dtype != inputs.dtype:
                seen = f"augmented {_told(inputs)} to {_told(augmented)}"
                self._broken(seen, "a crop without padding, or arithmetic in another dtype", "keep shape and dtype")
            if kept is not None:
                if not torch.equal(kept[0], inputs):
                    self._broken("changed the batch that it augments", "an operation in place", "work on a copy")
                kept[1].require_still(inspection, self.title, "augmenting a batch")
        return augmented

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each sample."""
        with self.inspection:
            self._require_outputs(outputs, targets)
        losses = self.task.losses(outputs, targets)
        with self.inspection as inspection:
            graph = losses.requires_grad or not outputs.requires_grad
            if losses.shape != (len(targets),) or not losses.is_floating_point() or not graph:
                seen = f"gave losses {_told(losses)} for {len(targets)} samples"
                cause = "a mean over the batch, or a detached value"
                self._broken(seen, cause, 'use reduction="none", and average over a sequence\'s own positions')
            if inspection.due(self.title, "losses", outputs.requires_grad) and not _finite(losses) and _finite(outputs):
                self._broken("gave a loss that is not finite for finite outputs", "a log of zero", "use log_softmax")
        return losses

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how right each sample is."""
        correct = self.task.correct(outputs, targets)
        with self.inspection as inspection:
            if correct.shape != (len(targets),) or not correct.is_floating_point():
                seen = f"gave {_told(correct)} for how right {len(targets)} samples are"
                self._broken(seen, "a count or a mean over the batch", "return (B,) floats")
            if inspection.due(self.title, "correct") and not self._shares(correct):
                self._broken("gave a metric outside of 0 to 1", "a count, or percent", "return shares")
        return correct

    def _shares(self, correct: Tensor) -> bool:
        without = self.shape.targets is TargetKind.NUMBERS and bool(correct.isnan().all())
        return without or bool(((correct >= 0) & (correct <= 1)).all())

    def _require_outputs(self, outputs: Any, targets: Tensor) -> None:
        numbers = self.shape.targets is TargetKind.NUMBERS
        expected = tuple(targets.shape) if numbers else (*targets.shape, self.shape.outputs)
        if not isinstance(outputs, Tensor) or outputs.shape != expected or not outputs.is_floating_point():
            self.inspection.broken(
                self.host,
                f"gave {_told(outputs)} where the task wants {expected}",
                cause="a head for another number of outputs, or a result in a tuple",
                fix="build the head for data.outputs, and return its outputs alone",
            )

    def _broken(self, seen: str, cause: str, fix: str) -> None:
        self.inspection.broken(self.title, seen, cause=cause, fix=fix)


def _wrong_split(shape: DataShape, inputs: Tensor, targets: Tensor) -> str | None:
    tokens = shape.kind is TaskKind.TOKENS
    if len(inputs) == 0 or len(inputs) != len(targets):
        return f"{len(inputs)} inputs and {len(targets)} targets"
    if tuple(inputs.shape[1:]) != tuple(shape.input_shape):
        return f"samples of {tuple(inputs.shape[1:])}, and `shape` says {tuple(shape.input_shape)}"
    wanted = torch.float32 if shape.targets is TargetKind.NUMBERS else torch.int64
    if inputs.dtype != (torch.int64 if tokens else torch.float32) or targets.dtype != wanted:
        return f"inputs of {inputs.dtype} and targets of {targets.dtype}"
    return None if tokens or _finite(inputs) else "inputs that are not finite"


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _told(value: Any) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
