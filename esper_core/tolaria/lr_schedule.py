"""Optimizers and learning rates: the host on its schedule, each seed on its own."""

from collections.abc import Iterable

import torch
from torch import nn

from esper_core.kasmina.groups import SEED_KEY, set_group_lr
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.leyline.stages import Stage
from esper_core.tolaria.config import OptimizerConfig, OptimizerName, Schedule, SeedSchedule


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimizer that `config` names."""
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

    The host follows warm-up and cosine over the run (or stays constant). What a germination changes is said by
    `SeedSchedule`; a cosine that restarts has no warm-up, and none is cut short. Nothing is remembered: the rates
    follow from the step and from when the seeds germinated.

    Args:
        config: the optimizer's.
        optimizer: whose groups are set.
        epochs: length of the run.
        steps: batches per epoch.
    """

    def __init__(self, config: OptimizerConfig, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> None:
        self._config = config
        self._optimizer = optimizer
        self._steps = steps
        self._total = epochs * steps

    def set(self, growth: Growth, epoch: int, step: int) -> None:
        """Set all rates for step `step` of `epoch`."""
        now = epoch * self._steps + step
        host_factor = self._host_factor(now, growth)
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

    @property
    def _constant(self) -> bool:
        return self._config.schedule is Schedule.CONSTANT

    def _own_factor(self, now: int, germinated_epoch: int) -> float:
        return 1.0 if self._constant else restarted_cosine(now, germinated_epoch * self._steps, self._total)

    def _host_factor(self, now: int, growth: Growth) -> float:
        warmup = self._config.warmup_epochs * self._steps
        if self._constant:
            return min(1.0, (now + 1) / (warmup + 1))
        restart = _last_germination(growth) if self._config.seed_schedule is SeedSchedule.RESTART_ALL else None
        if restart is None or now < warmup:
            return warmup_cosine(now, self._total, warmup)
        return restarted_cosine(now, max(warmup, restart * self._steps), self._total)


def _last_germination(growth: Growth) -> int | None:
    """The germination of the newest seed that has come to train; culled ones count, the host was restarted for them."""
    began = (Stage.TRAINING, Stage.BLENDING)
    names = {stage.name for stage in began}
    ended = [report.germinated_epoch for report in growth.reports if names & report.epochs_by_stage.keys()]
    present = [seed.germinated_epoch for seed in growth.seeds.values() if any(t.target in began for t in seed.history)]
    return max([*ended, *present], default=None)
