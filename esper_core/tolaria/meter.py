"""How training goes in a loop that is somebody else's: loss and accuracy over an epoch."""

from math import isnan
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from esper_core.leyline.protocols import Criterion


@define
class TrainingMeter:
    """Sums losses and hits of training samples on their device; nothing is synchronised until they are read.

    Attributes:
        criterion: loss and metric of a sample.
    """

    criterion: Criterion
    _sums: Tensor | None = None
    _samples: int = field(default=0)

    def add(self, outputs: Any, targets: Tensor) -> None:
        """Take in what the network made of a batch."""
        with torch.no_grad():
            losses = self.criterion.losses(outputs, targets)
            hits = self.criterion.correct(outputs, targets)
            sums = torch.stack([losses.sum(dtype=torch.float64), hits.sum(dtype=torch.float64)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._samples += len(losses)

    def read(self) -> tuple[float | None, float | None]:
        """Return mean loss and accuracy since the last time, None for what is not known, and begin anew."""
        sums, samples = self._sums, self._samples
        self._sums, self._samples = None, 0
        if sums is None or not samples:
            return None, None
        loss, accuracy = (sums / samples).tolist()
        return loss, None if isnan(accuracy) else accuracy
