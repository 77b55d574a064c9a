"""The task `diabetes`: a regression on a table."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from esper_core.api import DataShape, EsperError, Split, Splits, TargetKind, TaskKind

#: 60 %, 20 % and 20 % of the 442 patients.
_SIZES = {"train": 265, "validation": 88, "test": 89}
#: The splits belong to the task, like its data: the run's seed does not change them.
_SPLIT_SEED = 0
_FEATURES = 10
#: Of `data/diabetes.csv`.
_SHA256 = "9193026b7622ff944f0a6855a10107b24caf50dad69787c46e6890e69c27faca"


class DiabetesTask:
    """Predict one number from ten. The loss is the squared error over twice the variance of the training targets.

    That is the negative log likelihood of a normal distribution around the output with that variance, in nats, without
    its constant; its mean over a split is ``(1 - R^2) / 2`` wherever the split has the training targets' mean and
    variance. There is no accuracy. The data are read on first use; every caller shares the same tensors.

    Attributes:
        target_mean, target_deviation: of the training targets: an output y means ``target_mean + y * target_deviation``
            on the scale of the table.
    """

    shape = DataShape(kind=TaskKind.VECTORS, input_shape=(_FEATURES,), outputs=1, targets=TargetKind.NUMBERS)
    #: That of the best constant, the mean: half the variance of standardised targets.
    random_guess_loss = 0.5

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, digest of the table, scale of the targets, and sizes of the splits; loads the data."""
        scale = {"target_mean": self.target_mean, "target_deviation": self.target_deviation}
        units = {"measure": "RMSE of the progression", "deviation": self.target_deviation}
        return {"name": "diabetes", "sha256": _SHA256, **scale, "units": units, "splits": dict(_SIZES)}

    @property
    def target_mean(self) -> float:
        """Mean of the training targets, on the scale of the table."""
        return float(self._rows["train"][:, _FEATURES].mean())

    @property
    def target_deviation(self) -> float:
        """Standard deviation of the training targets, on the scale of the table."""
        return float(self._rows["train"][:, _FEATURES].std())

    def load(self) -> Splits:
        """Return all three splits: float32 vectors (N, 10) and targets (N, 1), standardised by the training split.

        Raises:
            EsperError: E302 if the table is not the one that was installed.
        """
        return self._splits

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Return the batch unchanged."""
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return half the squared error of each patient, in standard deviations of the target; (B,), in nats."""
        return 0.5 * (outputs - targets).square().sum(dim=1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return NaN for each patient: there is no accuracy; (B,)."""
        return torch.full((len(targets),), float("nan"), device=targets.device)

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.float64]]:
        table = _read_table()
        # NumPy guarantees the stream of this older generator; the streams of newer ones may change with its version.
        order = np.random.RandomState(_SPLIT_SEED).permutation(len(table))
        ends = np.cumsum([*_SIZES.values()])[:-1]
        return {name: table[np.sort(part)] for name, part in zip(_SIZES, np.split(order, ends), strict=True)}

    @cached_property
    def _splits(self) -> Splits:
        means, deviations = self._rows["train"].mean(axis=0), self._rows["train"].std(axis=0)

        def standardised(rows: NDArray[np.float64]) -> Split:
            values = torch.from_numpy((rows - means) / deviations).float()
            return Split(inputs=values[:, :_FEATURES].contiguous(), targets=values[:, _FEATURES:].contiguous())

        return Splits(**{name: standardised(rows) for name, rows in self._rows.items()})


def diabetes(config: None = None) -> DiabetesTask:
    """Return the task `diabetes`; it has no options."""
    return DiabetesTask()


def _read_table() -> NDArray[np.float64]:
    """Return the table, (442, 11); the last column is the target."""
    file = files("esper_task_tabular") / "data" / "diabetes.csv"
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise EsperError(
            "E302",
            "the table of the task diabetes has been changed",
            where=str(file),
            why="its SHA-256 is another one",
            fix="pip install --force-reinstall esper-task-tabular",
        )
    return np.loadtxt(content.decode().splitlines(), delimiter=",", skiprows=1)
