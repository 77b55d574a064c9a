"""Optimizers and learning rates: the host on its schedule, each seed on its own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from esper_core.kasmina.groups import SEED_KEY, set_group_lr
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.schedules import decay_tail, restarted_cosine
from esper_core.leyline.stages import Stage
from esper_core.tolaria.config import OptimizerConfig, OptimizerName, Schedule, SeedSchedule


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimizer that `config` names; norms, biases and gains have a group of their own, without decay."""
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "weight_decay": 0.0}]
    for parameter in model.parameters():
        groups[parameter.ndim < 2 and not config.decay_vectors]["params"].append(parameter)
    parameters = [group for group in groups if group["params"]]
    if config.name is OptimizerName.SGD:
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    kind = torch.optim.Adam if config.name is OptimizerName.ADAM else torch.optim.AdamW
    return kind(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


class LearningRateSchedule:
    """Sets the learning rate of every group before each step.

    The host follows a warm-up and then a cosine over the run, or another `Schedule`. What a germination changes is said
    by `SeedSchedule`; a cosine that restarts has no warm-up, and none is cut short. The rates follow from the place in
    the run and from when the seeds germinated. The place is the step; where the run has a budget of floating-point
    operations, it is the share of the run's steps that corresponds to the share of the budget, if that is further on.

    Args:
        config: the optimizer's.
        optimizer: whose groups are set.
        epochs: length of the run.
        steps: batches per epoch.

    Attributes:
        begun: by epoch, at which place it began, in steps; of the epochs that matter later, where there is a budget.
    """

    def __init__(self, config: OptimizerConfig, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> None:
        self._config = config
        self._optimizer = optimizer
        self._steps = steps
        self._total = epochs * steps
        self._cosine = config.schedule is Schedule.COSINE
        self._shares = 0.0, 0.0
        self.begun: Mapping[int, float] = {}

    def begin(self, growth: Growth, epoch: int, spent: float, ahead: float) -> None:
        """Begin an epoch of a run with a budget.

        Args:
            growth: the host's.
            epoch: from 0.
            spent: the share of the budget that was spent before the epoch.
            ahead: the share that training it will take.
        """
        self._shares = spent, ahead
        born = [seed.germinated_epoch for seed in growth.seeds.values()]
        kept = {self._config.warmup_epochs, *born, *(report.germinated_epoch for report in growth.reports)}
        known = {**self.begun, epoch: self._place(epoch, 0)}
        self.begun = {number: place for number, place in known.items() if number in kept}

    def set(self, growth: Growth, epoch: int, step: int) -> None:
        """Set all rates for step `step` of `epoch`."""
        now = self._place(epoch, step)
        host_factor = self._host_factor(epoch * self._steps + step, now, growth)
        own = self._config.seed_schedule is SeedSchedule.RESTART_SEED
        born = {seed.seed_id: seed.germinated_epoch for seed in growth.seeds.values()}
        for group in self._optimizer.param_groups:
            seed_id = group.get(SEED_KEY)
            if seed_id is None:
                group["lr"] = self._config.lr * host_factor
            elif seed_id in born:
                factor = self._own_factor(now, born[seed_id]) if own else host_factor
                set_group_lr(group, self.seed_rate * factor)

    @property
    def seed_rate(self) -> float:
        """What a seed's group begins with."""
        return self._config.lr * self._config.seed_lr_multiplier

    def _place(self, epoch: int, step: int) -> float:
        spent, ahead = self._shares
        return max(epoch * self._steps + step, self._total * (spent + ahead * step / self._steps))

    def _beginning(self, epoch: int) -> float:
        return self.begun.get(epoch, epoch * self._steps)

    def _tail(self, now: float) -> float:
        stable = self._config.schedule is Schedule.STABLE
        return decay_tail(now, self._total, self._config.decay_share) if stable else 1.0

    def _own_factor(self, now: float, germinated_epoch: int) -> float:
        begun = self._beginning(germinated_epoch)
        return restarted_cosine(now, begun, self._total) if self._cosine else self._tail(now)

    def _host_factor(self, step: int, now: float, growth: Growth) -> float:
        """A warm-up is as long as in any run: it goes by `step`, and all else by the place `now`."""
        warmup = self._config.warmup_epochs
        rising = min(1.0, (step + 1) / (warmup * self._steps + 1))
        if not self._cosine:
            return rising * self._tail(now)
        if step < warmup * self._steps:
            return rising
        restart = _last_germination(growth) if self._config.seed_schedule is SeedSchedule.RESTART_ALL else None
        return restarted_cosine(now, self._beginning(max(warmup, restart or 0)), self._total)


def _last_germination(growth: Growth) -> int | None:
    """The germination of the newest seed that has come to train; culled ones count, the host was restarted for them."""
    began = (Stage.TRAINING, Stage.BLENDING)
    names = {stage.name for stage in began}
    ended = [report.germinated_epoch for report in growth.reports if names & report.epochs_by_stage.keys()]
    present = [seed.germinated_epoch for seed in growth.seeds.values() if any(t.target in began for t in seed.history)]
    return max([*ended, *present], default=None)
