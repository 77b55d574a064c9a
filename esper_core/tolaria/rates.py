"""Optimizers and learning rates: the host on its schedule, each seed on its own."""

from collections.abc import Iterable

import torch
from torch import nn

from esper_core.kasmina.groups import host_groups, set_seed_lr
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.tolaria.config import OptimizerConfig, OptimizerName, Schedule


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


class LearningRates:
    """Sets the learning rate of every group before each step.

    The host follows warm-up and cosine over the run (or stays constant). A seed's group begins its own cosine, without
    warm-up, when it is germinated, over the steps that remain.

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
        for group in host_groups(self._optimizer):
            group["lr"] = self._config.lr * self._host_factor(now)
        for slot, life in growth.lives.items():
            if growth.bed.seed_parameters(slot):
                birth = life.germinated_epoch * self._steps
                factor = 1.0 if self._constant else restarted_cosine(now, birth, self._total)
                set_seed_lr(self._optimizer, life.seed_id, self.seed_rate * factor)

    @property
    def seed_rate(self) -> float:
        """What a seed's group begins with."""
        return self._config.lr * self._config.seed_lr_multiplier

    @property
    def _constant(self) -> bool:
        return self._config.schedule is Schedule.CONSTANT

    def _host_factor(self, now: int) -> float:
        warmup = self._config.warmup_epochs * self._steps
        if self._constant:
            return min(1.0, (now + 1) / (warmup + 1))
        return warmup_cosine(now, self._total, warmup)
