"""Hooks on the user's optimizer: time within an epoch, seeds' learning rates, and a look at the gradients."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from esper_core.kasmina.groups import clip_grad_norm_by_origin_, host_groups, seed_ids, set_seed_lr
from esper_core.kasmina.schedules import restarted_cosine
from esper_core.leyline.stages import Stage
from esper_core.tolaria.config import SeedSchedule
from esper_core.tolaria.grower import Grower
from esper_core.tolaria.training import GRADIENT_STRIDE
from esper_growing.following.seed_gradients import SeedGradients


@define(kw_only=True)
class OptimizerHooks:
    """Moves alphas and seeds' learning rates on with every step. The host's schedule is the user's.

    Attributes:
        optimizer: the user's.
        epochs: length of the training.
        seed_rate: the learning rate that a seed begins with.
        schedule: how it goes on from there.
        multiplier: a seed's learning rate relative to the host's.
        grower: what grows, once the sites are confirmed.
        seeds: keeps the gradients of its seeds apart.
        steps: optimizer steps in the present epoch so far.
        steps_per_epoch: of the epoch before; None in the first one, in which alphas do not move between steps.
    """

    optimizer: torch.optim.Optimizer
    epochs: int
    seed_rate: float
    schedule: SeedSchedule
    multiplier: float
    grower: Grower | None = None
    seeds: SeedGradients | None = None
    steps: int = 0
    steps_per_epoch: int | None = None
    _handles: list[Any] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]

    def begin_epoch(self) -> None:
        """Begin with the alphas of the first step, and look at the seeds that there are now."""
        self._set_alphas()
        if self.seeds is not None:
            self.seeds.begin_epoch()

    def end_epoch(self) -> dict[str, int]:
        """Begin to count the steps of the next epoch; return in how many of this one each seed overflowed, by slot.

        Raises:
            EsperError: E406 if seeds have gradients, and the optimizer took no step.
        """
        overflowed = {} if self.seeds is None else self.seeds.end_epoch(self.steps)
        self.steps_per_epoch, self.steps = self.steps or None, 0
        return overflowed

    def go_on(self, steps: int, steps_per_epoch: int | None) -> None:
        """Go on after this many steps of an epoch."""
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.begin_epoch()

    def clip_grad_norm_(self, max_norm: float) -> dict[str, Tensor]:
        """Clip gradients, the host's and each seed's by itself; return the norms before, by origin."""
        if self.seeds is not None:
            self.seeds.hand_over(touched=False)
        host = None if self.grower is None else self.grower.growth.slot_set.host_parameters
        return clip_grad_norm_by_origin_(self.optimizer, max_norm, host)

    def remove(self) -> None:
        """Let go of the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self.seeds is not None:
            self.seeds.stop()

    def _set_alphas(self) -> None:
        """Set the alphas of the next step; without the length of an epoch they stay as they were at its beginning."""
        if self.grower is not None and self.steps_per_epoch is not None:
            self.grower.growth.set_alphas(self.grower.epoch, self._reached(1))

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        if self.schedule is SeedSchedule.KEEP:
            rate = float(host_groups(self.optimizer)[0]["lr"]) * self.multiplier
            for seed_id in seed_ids(self.optimizer):
                set_seed_lr(self.optimizer, seed_id, rate)
        if self.grower is None:
            return None
        return _behind_closure(self._ready, args, kwargs)

    def _ready(self) -> None:
        """The gradients are there."""
        assert self.grower is not None
        if self.seeds is not None:
            self.seeds.hand_over()
        if self.steps % GRADIENT_STRIDE == 0:
            self.grower.gradients.look()

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.steps += 1
        if self.grower is None:
            return
        growth, epoch = self.grower.growth, self.grower.epoch
        # Seeds that draw random numbers must not draw the same ones in every step of the first epoch.
        growth.set_position(epoch * (self.steps_per_epoch or 0) + self.steps)
        if self.steps_per_epoch is None:
            return
        self._set_alphas()
        if self.schedule is SeedSchedule.KEEP:
            return
        for slot, seed in growth.seeds.items():
            if growth.slot_set.seed_parameters(slot) and seed.stage is not Stage.CULLED:
                factor = restarted_cosine(epoch + self._reached(), seed.germinated_epoch, self.epochs)
                set_seed_lr(self.optimizer, seed.seed_id, self.seed_rate * factor)

    def _reached(self, more: int = 0) -> float:
        """How much of the epoch is over, 0 to 1, after some more steps; 0 where its length is not known."""
        return min(1.0, (self.steps + more) / self.steps_per_epoch) if self.steps_per_epoch else 0.0


def _behind_closure(ready: Callable[[], None], args: Any, kwargs: Any) -> Any:
    """Call `ready`; where the step's closure makes the gradients, let it be a closure that does so behind it."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        ready()
        return None

    def followed() -> Any:
        result = closure()
        ready()
        return result

    return (args[0], *args[2:]), {**kwargs, "closure": followed}
