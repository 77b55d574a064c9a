"""Whether gradients are clipped over host and seeds together: then a seed in training decides how the host learns."""

from math import isfinite, log2
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from esper_core.kasmina.growth import Growth
from esper_core.leyline.stages import Stage

#: Relative difference up to which two factors are one.
_SAME = 1e-3


@define
class ClipWatch:
    """Compares gradients of host and seeds in training, as backward has left them, with those that are stepped.

    If both have shrunk by one factor, they were clipped by one norm. A factor that is a power of two is that of a loss
    scale. Nothing is synchronised before `read`.

    Attributes:
        growth: the seeds.
    """

    growth: Growth
    _left: dict[int, Tensor] = field(factory=dict)
    _handles: dict[int, Any] = field(factory=dict)
    _factors: list[Tensor] = field(factory=list)

    def begin_epoch(self) -> None:
        """Look at the seeds that are in training now."""
        self.stop()
        watched = self._seeds()
        if watched and (host := self._host()) is not None:
            for parameter in (host, *watched):
                self._handles[id(parameter)] = parameter.register_post_accumulate_grad_hook(self._keep)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Look no more."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()
        self._left.clear()

    def before_step(self) -> None:
        """Take in by which factors gradients have changed since backward."""
        host = self._host() if self._handles else None
        if host is None or host.grad is None or id(host) not in self._left:
            return
        for parameter in self._seeds():
            if parameter.grad is not None and id(parameter) in self._left:
                factors = [_factor(self._left[id(one)], one.grad) for one in (host, parameter) if one.grad is not None]
                self._factors.append(torch.stack([factor.to(host.device) for factor in factors]))

    def read(self) -> bool:
        """Say whether host and seeds were clipped as one since the last time."""
        found, self._factors = self._factors, []
        return any(_clipped(*pair) for pair in torch.stack(found).tolist()) if found else False

    def _keep(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._left[id(parameter)] = parameter.grad.detach().clone()

    def _host(self) -> nn.Parameter | None:
        trained = [p for p in self.growth.slot_set.host_parameters if p.requires_grad]
        return min(trained, key=Tensor.numel, default=None)

    def _seeds(self) -> list[nn.Parameter]:
        """The parameters of seeds in training; where a seed begins, only its last layer has a gradient."""
        slots = [slot for slot, life in self.growth.seeds.items() if life.stage is Stage.TRAINING]
        return [p for slot in slots for p in self.growth.slot_set.seed_parameters(slot) if p.requires_grad]


def _factor(before: Tensor, after: Tensor) -> Tensor:
    norms = [torch.linalg.vector_norm(one.detach().float()) for one in (before, after)]
    factor: Tensor = norms[1] / norms[0]
    return factor


def _clipped(host: float, seed: float) -> bool:
    if not (isfinite(host) and isfinite(seed)) or min(host, seed) <= 0.0:
        return False
    exponent = log2(seed)
    scaled = abs(exponent - round(exponent)) < _SAME
    return not scaled and abs(host / seed - 1.0) < _SAME
