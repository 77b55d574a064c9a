"""Validation and counterfactuals: per-sample losses of the network as it stands and with other alphas."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor, nn

from esper_core.kasmina.bed import SeedBed
from esper_core.leyline.evidence import EpochMetrics
from esper_core.leyline.protocols import Split, Task
from esper_core.tolaria.data import in_order

#: Other alphas for some slots; the empty setting is the network as it stands.
Setting = Mapping[str, float]


@frozen(kw_only=True)
class Measured:
    """Results of `measure`.

    Attributes:
        metrics: of the network as it stands, per-sample losses included.
        losses: per-sample losses for each setting, in the order asked for.
        update_ratios: rms(delta) / rms(h) for each slot whose seed ran; NaN where it is not finite.
    """

    metrics: EpochMetrics
    losses: tuple["array[float]", ...]
    update_ratios: Mapping[str, float]


def measure(
    bed: SeedBed, task: Task, split: Split, settings: Sequence[Setting] = (), *, batch_size: int = 512
) -> Measured:
    """Measure the network on a split as it stands, and once more for every setting, on the same samples.

    The model is left in the mode it was in; no random number is drawn and no weight or buffer changes.
    """
    model = bed.model
    training = model.training
    began = perf_counter()
    losses: list[list[Tensor]] = [[] for _ in range(len(settings) + 1)]
    correct: list[Tensor] = []
    model.eval()
    try:
        with torch.no_grad(), _update_meters(bed) as meters:
            for inputs, targets in in_order(split, batch_size):
                for index, outputs in enumerate(_forward_all(bed, inputs, settings)):
                    losses[index].append(task.losses(outputs, targets))
                    if index == 0:
                        correct.append(task.correct(outputs, targets))
    finally:
        model.train(training)
    columns = [_as_array(column) for column in losses]
    count = len(columns[0])
    metrics = EpochMetrics(
        loss=sum(columns[0]) / count,
        accuracy=float(torch.cat(correct).double().mean()),
        samples=count,
        seconds=perf_counter() - began,
        sample_losses=columns[0],
    )
    return Measured(
        metrics=metrics,
        losses=tuple(columns[1:]),
        update_ratios={slot: meter.ratio() for slot, meter in meters.items() if meter.seen},
    )


def _forward_all(bed: SeedBed, inputs: Tensor, settings: Sequence[Setting]) -> Iterator[Any]:
    """Yield the outputs as the network stands, then those of every setting: one whole pass each."""
    yield bed.model(inputs)
    for setting in settings:
        with bed.override(setting):
            yield bed.model(inputs)


def _as_array(column: Sequence[Tensor]) -> "array[float]":
    values = array("f")
    values.frombytes(torch.cat([*column]).float().cpu().numpy().tobytes())
    return values


@define
class _UpdateMeter:
    """Sums of squares of a seed's input and output."""

    h: Tensor | float = 0.0
    delta: Tensor | float = 0.0
    seen: bool = False

    def hook(self, module: nn.Module, args: tuple[Tensor, ...], delta: Tensor) -> None:
        self.h = self.h + args[0].float().square().sum()
        self.delta = self.delta + delta.float().square().sum()
        self.seen = True

    def ratio(self) -> float:
        return float((torch.as_tensor(self.delta) / torch.as_tensor(self.h)).sqrt())


@contextmanager
def _update_meters(bed: SeedBed) -> Iterator[dict[str, _UpdateMeter]]:
    meters = {slot: _UpdateMeter() for slot in bed.slots}
    handles = [held.seed.register_forward_hook(meters[slot].hook) for slot, held in bed.slots.items()]
    try:
        yield meters
    finally:
        for handle in handles:
            handle.remove()
