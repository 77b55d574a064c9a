"""The task: learn to label images like the teacher."""

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Generator, Tensor
from torch.nn import functional as F

from esper_core.api import DataShape, Split, Splits, TaskKind, plain
from esper_task_teacher.config import TeacherConfig
from esper_task_teacher.drawing import build_examiner, draw_split


class TeacherTask:
    """Classify images; the loss is cross entropy, a sample is right if its class has the largest logit.

    The data are drawn on first use; then they stay in memory, and every caller shares the same tensors.

    Args:
        config: the options.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        shape = (config.channels, config.size, config.size)
        self.shape = DataShape(kind=TaskKind.IMAGES, input_shape=shape, outputs=config.classes)
        self.random_guess_loss = math.log(config.classes)

    @property
    def best_accuracy(self) -> float:
        """The expected accuracy of the teacher itself under the label noise, which no network can exceed."""
        return 1 - self._config.label_noise * (self._config.classes - 1) / self._config.classes

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The options, what a host has to grow, the best possible accuracy, and each split's size and SHA-256."""
        splits = self.load()
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        return {
            "name": "teacher",
            "options": plain(self._config),
            "needed": {f"block{index}": updates for index, updates in enumerate(self._config.updates)},
            "best_accuracy": self.best_accuracy,
            "splits": {name: {"samples": len(part.targets), "sha256": _digest(part)} for name, part in parts.items()},
        }

    def load(self) -> Splits:
        """Return all three splits: float32 images (N, C, H, W), int64 classes (N,).

        Raises:
            EsperError: E202 if the options ask for more classes than the teacher can distinguish.
        """
        return self._splits

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Return the batch unchanged, because a changed image could have a different label."""
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of each image, (B,), in nats."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1.0 for each image that is classified correctly, else 0.0; (B,)."""
        return (outputs.argmax(dim=1) == targets).float()

    @cached_property
    def _splits(self) -> Splits:
        config, examiner = self._config, build_examiner(self._config)
        return Splits(
            train=draw_split(config, examiner, "train", config.train_samples),
            validation=draw_split(config, examiner, "validation", config.validation_samples),
            test=draw_split(config, examiner, "test", config.test_samples),
        )


def _digest(split: Split) -> str:
    content = hashlib.sha256(repr(tuple(split.inputs.shape)).encode())
    content.update(split.inputs.numpy().astype("<f4").tobytes())
    content.update(split.targets.numpy().astype("<i8").tobytes())
    return content.hexdigest()
