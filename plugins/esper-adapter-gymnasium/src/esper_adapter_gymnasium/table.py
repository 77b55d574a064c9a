"""The table: what every topology of a small host came to when it was trained."""

from collections.abc import Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from esper_core.api import EsperError

Array = NDArray[np.float64]

#: The table that comes with the distribution.
BUNDLED = "digits-4-4-4.npz"

_CURVES = ("loss", "accuracy", "train_loss", "train_accuracy", "contribution", "contribution_error")


@frozen(eq=False, kw_only=True)
class GrowthTable:
    """Learning curves of every topology of one host, for several random seeds.

    A topology is a number: with S slots and K blueprints, the digit of slot i is worth ``(K + 1) ** i``; 0 means that
    the slot is empty, n the n-th blueprint. N is the number of topologies, R that of random seeds, E of epochs.

    Attributes:
        slots: ids of the slots in order.
        blueprints: names in catalogue order.
        options: of each blueprint, as JSON.
        seeds: the random seeds.
        loss, accuracy: (R, N, E), on validation data after each epoch; NaN where a topology was not trained.
        train_loss, train_accuracy: (R, N, E).
        contribution, contribution_error: (R, N, E, S), the validation loss without the seed of a slot minus the loss
            with it, in nats, and its standard error; 0 for an empty slot.
        parameters: (S, K + 1), of each blueprint's seed in each slot.
        flops: (S, K + 1), of its forward pass for one sample.
        host_parameters, host_flops: of the bare host.
        widths: width of each slot's site.
        samples: of the validation split.
        random_guess_loss: in nats.
    """

    slots: tuple[str, ...]
    blueprints: tuple[str, ...]
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    loss: Array
    accuracy: Array
    train_loss: Array
    train_accuracy: Array
    contribution: Array
    contribution_error: Array
    parameters: Array
    flops: Array
    host_parameters: int
    host_flops: int
    widths: tuple[int, ...]
    samples: int
    random_guess_loss: float

    @classmethod
    def read(cls, path: Path | None = None) -> "GrowthTable":
        """Read a table; None: the one that comes with the distribution.

        Raises:
            EsperError: E502 if there is no such file, or it is no such table.
        """
        source = files("esper_adapter_gymnasium") / "data" / BUNDLED if path is None else path
        try:
            with source.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                return cls._of({name: saved[name] for name in saved.files})
        except (OSError, KeyError, ValueError) as error:
            fix = "take the bundled table, or make one with tools/growth_table.py of esper-adapter-gymnasium"
            raise EsperError("E502", "there is no such table", where=str(source), why=str(error), fix=fix) from error

    @classmethod
    def _of(cls, saved: dict[str, Any]) -> "GrowthTable":
        read: dict[str, Any] = {name: int(saved[name]) for name in ("host_parameters", "host_flops", "samples")}
        read |= {name: tuple(saved[name].tolist()) for name in ("slots", "blueprints", "options", "seeds", "widths")}
        read |= {name: saved[name].astype(float) for name in (*_CURVES, "parameters", "flops")}
        return cls(**read, random_guess_loss=float(saved["random_guess_loss"]))

    def write(self, path: Path) -> None:
        """Write the table as a compressed file; curves in single precision."""
        single = {name: getattr(self, name).astype(np.float32) for name in _CURVES}
        rest = (
            "slots",
            "blueprints",
            "options",
            "seeds",
            "parameters",
            "flops",
            "host_parameters",
            "host_flops",
            "widths",
        )
        others = {name: np.asarray(getattr(self, name)) for name in (*rest, "samples", "random_guess_loss")}
        arrays: dict[str, Any] = {**single, **others}
        np.savez_compressed(path, **arrays)

    @property
    def epochs(self) -> int:
        """Length of the curves."""
        return int(self.loss.shape[-1])

    @property
    def choices(self) -> int:
        """What a slot may hold: nothing, or one of the blueprints."""
        return len(self.blueprints) + 1

    def topology(self, number: int) -> tuple[int, ...]:
        """Return what each slot holds: 0 for nothing, n for the n-th blueprint."""
        return tuple(number // self.choices**slot % self.choices for slot in range(len(self.slots)))

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds such that every topology with no more is there for every random seed."""
        known: NDArray[np.bool_] = np.asarray(np.isfinite(self.loss).all(axis=(0, 2)))
        counts = np.array([sum(map(bool, self.topology(number))) for number in range(len(known))])
        whole = [most for most in range(len(self.slots) + 1) if known[counts <= most].all()]
        if not whole:
            raise EsperError("E502", "the table does not even have the bare host", fix="make more of it")
        return max(whole)

    def mean(self) -> "GrowthTable":
        """Return the table of means over the random seeds; errors of contributions are means too."""
        curves = {name: getattr(self, name).mean(0, keepdims=True) for name in _CURVES}
        return evolve(self, seeds=self.seeds[:1], **curves)

    def of_seed(self, index: int) -> "GrowthTable":
        """Return the table of one of its random seeds."""
        return self.of_seeds([index])

    def of_seeds(self, indices: Sequence[int]) -> "GrowthTable":
        """Return the table of some of its random seeds."""
        curves = {name: getattr(self, name)[list(indices)] for name in _CURVES}
        return evolve(self, seeds=tuple(self.seeds[it] for it in indices), **curves)

    def part(self, slots: int, blueprints: int, epochs: int) -> "GrowthTable":
        """Return the smaller table of the first slots, blueprints and epochs."""
        digits = product(range(blueprints + 1), repeat=slots)
        order = sorted(sum(it * self.choices**slot for slot, it in enumerate(topology)) for topology in digits)
        curves = {name: getattr(self, name)[:, order, :epochs] for name in _CURVES}
        curves |= {name: curves[name][..., :slots] for name in ("contribution", "contribution_error")}
        return evolve(
            self,
            slots=self.slots[:slots],
            blueprints=self.blueprints[:blueprints],
            options=self.options[:blueprints],
            widths=self.widths[:slots],
            parameters=self.parameters[:slots, : blueprints + 1],
            flops=self.flops[:slots, : blueprints + 1],
            **curves,
        )
