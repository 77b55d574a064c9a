"""One epoch of training: the only loop over batches that changes weights."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from time import perf_counter

import torch
from attrs import define, field, frozen
from torch import Tensor

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.groups import GradientSize, clip_grad_norm_by_origin_, gradient_ratio
from esper_core.kasmina.growth import Growth
from esper_core.leyline.evidence import EpochMetrics
from esper_core.leyline.protocols import Criterion, Task
from esper_core.tolaria.data import Inputs
from esper_core.tolaria.incubation import probe, probed_slots
from esper_core.tolaria.isolation import prove_isolation
from esper_core.tolaria.lr_schedule import LearningRateSchedule
from esper_core.tolaria.numerics import Numerics

#: Gradients are looked at once in this many steps.
GRADIENT_STRIDE = 4


@frozen(kw_only=True)
class GradientEvidence:
    """Gradients of one seed over an epoch; None where nothing was seen.

    Attributes:
        ratio: mean of `groups.gradient_ratio` over the steps looked at.
        norm: mean 2-norm of its gradient over the steps looked at.
        finite: every gradient looked at was finite.
        isolated: the seed leaves the host alone, as proved on one batch; TRAINING only.
    """

    ratio: float | None
    norm: float | None
    finite: bool | None
    isolated: bool | None = None


def train_epoch(
    growth: Growth,
    optimizer: torch.optim.Optimizer,
    rates: LearningRateSchedule,
    task: Task,
    batches: Iterator[tuple[Tensor, Tensor]],
    gradients: "GradientWatch",
    *,
    epoch: int,
    steps: int,
    clip_norm: float | None,
    numerics: Numerics,
) -> EpochMetrics:
    """Train host and seeds for one epoch; the device is asked for numbers once, at the end. `gradients` looks at them.

    Seeds that are probed (`incubation`) get their gradients behind the host's backward pass, from a pass of their own.
    """
    growth.slot_set.model.train()
    began = perf_counter()
    totals, samples = _Totals(), 0
    probed = probed_slots(growth.slot_set)
    for step, (inputs, targets) in enumerate(batches):
        if step == 0:
            gradients.prove_isolation(task, inputs, targets)
        rates.set(growth, epoch, step)
        growth.set_alphas(epoch, (step + 1) / steps)
        growth.set_position(epoch * steps + step)
        outputs = numerics.forward(growth.slot_set, inputs)
        losses = task.losses(outputs, targets)
        optimizer.zero_grad(set_to_none=True)
        numerics.backward(losses.mean())
        numerics.unscale(growth.slot_set)
        probe(growth.slot_set, task, inputs, targets, probed, growth.config.probe_alpha)
        numerics.gathered(growth.slot_set)
        if step % GRADIENT_STRIDE == 0:
            gradients.look()
        if clip_norm is not None:
            clip_grad_norm_by_origin_(optimizer, clip_norm)
        numerics.step(optimizer)
        totals.add(losses.detach(), task.correct(outputs.detach(), targets))
        samples += len(losses)
    loss, right = totals.read()
    return EpochMetrics(loss=loss / samples, accuracy=right / samples, samples=samples, seconds=perf_counter() - began)


@define
class _Totals:
    """What stays on the device until it is read."""

    losses: list[Tensor] = field(factory=list)
    correct: list[Tensor] = field(factory=list)

    def add(self, losses: Tensor, correct: Tensor) -> None:
        self.losses.append(losses)
        self.correct.append(correct)

    def read(self) -> tuple[float, float]:
        if not self.losses:
            return float("nan"), float("nan")
        sums = [torch.cat(parts).sum(dtype=torch.float64) for parts in (self.losses, self.correct)]
        loss, correct = torch.stack(sums).tolist()
        return loss, correct


@define
class GradientWatch:
    """Gradient ratios and norms of every seed over an epoch, kept on the device until they are read."""

    growth: Growth
    _seen: dict[str, list[Tensor]] = field(factory=dict)
    _isolated: dict[str, bool] = field(factory=dict)

    def prove_isolation(self, task: Criterion, inputs: Inputs, targets: Tensor) -> bool:
        """Prove on one batch that seeds in training leave the host alone; call it before ``zero_grad``.

        Return whether that is known now of all of them.
        """
        slot_set, alpha = self.growth.slot_set, self.growth.config.probe_alpha
        training = (ForwardMode.STRAIGHT_THROUGH, ForwardMode.PROBE)
        slots = [name for name, held in slot_set.slots.items() if held.forward_mode in training and held.attached]
        if slots:
            self._isolated = prove_isolation(slot_set, task, inputs, targets, slots, probe_alpha=alpha)
        return {*slots} <= {*self._isolated}

    def look(self) -> None:
        """Take in the gradients as they are now, between backward and step."""
        slot_set = self.growth.slot_set
        sizes = {slot: GradientSize.of(held.seed.parameters()) for slot, held in slot_set.slots.items()}
        host = GradientSize.of(slot_set.host_parameters) if any(seed.count for seed in sizes.values()) else None
        for slot, seed in sizes.items():
            if host is not None and seed.count:
                self._seen.setdefault(slot, []).append(torch.stack([gradient_ratio(host, seed), seed.norm]))

    def record(self) -> dict[str, list[list[float]]]:
        """Return what was seen so far as plain data, to go on from in the middle of an epoch; synchronises."""
        return {slot: torch.stack([pair.cpu() for pair in pairs]).tolist() for slot, pairs in self._seen.items()}

    def go_on(self, record: Mapping[str, Iterable[Iterable[float]]]) -> None:
        """Go on from what was recorded."""
        self._seen = {slot: [torch.tensor([*pair]) for pair in pairs] for slot, pairs in record.items()}

    def read(self) -> dict[str, GradientEvidence]:
        """Return what was seen of each slot's seed; synchronises with the device."""
        return {
            slot: _summary(torch.stack([pair.cpu() for pair in pairs]).tolist(), self._isolated.get(slot))
            for slot, pairs in self._seen.items()
        }


def _summary(pairs: list[list[float]], isolated: bool | None) -> GradientEvidence:
    ratios, norms = ([value for value in column if isfinite(value)] for column in zip(*pairs, strict=True))
    return GradientEvidence(
        ratio=sum(ratios) / len(ratios) if ratios else None,
        norm=sum(norms) / len(norms) if norms else None,
        finite=all(isfinite(norm) for _, norm in pairs),
        isolated=isolated,
    )
