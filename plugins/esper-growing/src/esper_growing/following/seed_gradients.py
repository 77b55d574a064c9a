"""Gradients of live seeds, kept out of the loop's hands between backward and step: what it does there is the host's.

A loop clips by one norm over ``model.parameters()``, and a loss scaler skips a step if any gradient of the optimizer's
overflowed. So a seed's gradient would decide how the host is trained. Here it is taken away as soon as backward has
made it, and handed over in front of the optimizer's step, scaled as the host's gradients were.
"""

import gc
from typing import Any
from weakref import WeakSet

import torch
from attrs import define, field
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.autograd.graph import register_multi_grad_hook
from torch.nn.utils import get_total_norm

from esper_core.kasmina.groups import host_groups
from esper_core.kasmina.growth import Growth
from esper_core.leyline.errors import EsperError
from esper_core.leyline.stages import Stage

#: As many of the host's smallest parameters are looked at, to see what was done to its gradients.
_WITNESSES = 8
#: Relative difference up to which a norm is as it was.
_SAME = 1e-3


@define
class SeedGradients:
    """Takes the gradients of live seeds away after each backward, and hands them over for the step.

    What the loop did to the host's gradients in between is seen on a few of its smallest parameters. If it zeroed them,
    what was taken belongs to no step any more. If it scaled them (it clipped, or divided by a loss scale or a number of
    batches), each seed's are scaled by that factor too, and never are larger than the host's then. With a `GradScaler`,
    a seed with a gradient that overflowed sits the step out alone. Where only seeds are trained, all is left to the
    loop.

    Attributes:
        growth: the seeds.
    """

    growth: Growth
    _taken: dict[nn.Parameter, Tensor] = field(factory=dict)
    _handles: list[Any] = field(factory=list)
    #: Gradients of witnesses as backward has left them: the tensor itself, its version, a copy.
    _left: dict[nn.Parameter, tuple[Tensor, int, Tensor]] = field(factory=dict)
    _host_learns: bool = True
    _scalers: WeakSet[GradScaler] | None = None
    _overflowed: dict[str, int] = field(factory=dict)

    def begin_epoch(self) -> None:
        """Take away the gradients of the seeds that are live now."""
        self.stop()
        seeds, witnesses = self._live(), self._witnesses()
        if not (seeds and witnesses and self._host_learns):
            return
        self._handles = [register_multi_grad_hook((*witnesses, *seeds), self._backward_begins, mode="any")]
        for parameters, hook in ((witnesses, self._remember), (seeds, self._take)):
            self._handles += [p.register_post_accumulate_grad_hook(hook) for p in parameters]  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Take no more away, and give back what was taken."""
        for handle in self._handles:
            handle.remove()
        self._give(self._taken)
        self._handles.clear()
        self._left.clear()

    def end_epoch(self, steps: int) -> dict[str, int]:
        """Let go, and return in how many steps each seed's gradient overflowed, by slot.

        Raises:
            EsperError: E406 if the optimizer took no step, so that nothing was handed over.
        """
        if self._taken and not steps and not self._known_scalers():
            name = type(self.growth.slot_set.optimizer).__name__
            self._taken.clear()
            self.stop()
            raise EsperError(
                "E406",
                "the optimizer took no step in this epoch",
                where=f"optimizer {name}",
                why="there were gradients, but its step() was not called",
                fix="give grow() the optimizer whose step() is called: the one inside, if this one wraps another",
            )
        self.stop()
        overflowed, self._overflowed = self._overflowed, {}
        return overflowed

    def hand_over(self, *, touched: bool = True) -> None:
        """Give the seeds what was taken from them; `touched`: with what the loop has done to the host's gradients."""
        if not self._taken:
            return
        self._host_learns = any(p.grad is not None for p in self._witnesses())
        taken, seen_by_scaler = dict(self._taken), self._seen_by_scaler()
        self._taken.clear()
        factor, largest = self._touched(unscaled=seen_by_scaler) if touched else (None, None)
        for slot in self.growth.seeds:
            mine = {p: taken[p] for p in self.growth.slot_set.seed_parameters(slot) if p in taken}
            if not mine:
                continue
            if seen_by_scaler and not all(bool(gradient.isfinite().all()) for gradient in mine.values()):
                self._overflowed[slot] = self._overflowed.get(slot, 0) + 1
                continue
            if factor is not None and largest is not None:
                norm = get_total_norm(mine.values()).float().to(factor.device) * factor
                scale = factor * (largest / (norm + 1e-6)).clamp(max=1.0)
                mine = {p: gradient * scale.to(gradient) for p, gradient in mine.items()}
            self._give(mine)

    def _give(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        self._taken.clear()

    def _backward_begins(self, _: Tensor) -> None:
        if self._taken and any(map(self._zeroed, self._left)):
            self._taken.clear()

    def _zeroed(self, witness: nn.Parameter) -> bool:
        gradient, version, _ = self._left[witness]
        if witness.grad is not gradient:
            return True
        return gradient._version != version and not bool(gradient.any())

    def _remember(self, witness: Tensor) -> None:
        assert isinstance(witness, nn.Parameter)
        if (gradient := witness.grad) is not None:
            self._left[witness] = (gradient, gradient._version, gradient.detach().clone())

    def _take(self, parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        if (gradient := parameter.grad) is not None:
            before = self._taken.get(parameter)
            self._taken[parameter] = gradient.detach() if before is None else before.add_(gradient.detach())
            parameter.grad = None

    def _touched(self, *, unscaled: bool) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """By which factor the host's gradients were scaled, and their norm now; infinite where nothing was changed."""
        pairs = [(one, p.grad) for p, one in self._left.items() if p.grad is not None]
        # A scaler writes past version counters.
        if not unscaled and all(now is given and now._version == version for (given, version, _), now in pairs):
            return None, None
        before = get_total_norm([copy.float() for (_, _, copy), _ in pairs])
        factor = get_total_norm([now.detach().float() for _, now in pairs]) / before
        host = (p.grad.detach() for p in self.growth.slot_set.host_parameters if p.grad is not None)
        norm = get_total_norm([*host]).float().to(factor.device)
        same = ~((factor - 1.0).abs() > _SAME)  # also where it is not a number
        return torch.where(same, 1.0, factor), torch.where(same, torch.inf, norm)

    def _seen_by_scaler(self) -> bool:
        """A scaler has looked for gradients of the optimizer that overflowed."""
        key = id(self.growth.slot_set.optimizer)
        return any(_has_seen(one, key) for one in self._known_scalers())

    def _known_scalers(self) -> WeakSet[GradScaler]:
        """A scaler knows its optimizers, and not the other way round: all objects of the process are gone through."""
        if self._scalers is None:
            self._scalers = WeakSet(one for one in gc.get_objects() if issubclass(type(one), GradScaler))
        return self._scalers

    def _witnesses(self) -> list[nn.Parameter]:
        groups = host_groups(self.growth.slot_set.optimizer)
        trained = [p for group in groups for p in group["params"] if p.requires_grad]
        return sorted(trained, key=Tensor.numel)[:_WITNESSES]

    def _live(self) -> list[nn.Parameter]:
        """The parameters of seeds that are no part of the network yet."""
        slots = [slot for slot, life in self.growth.seeds.items() if life.stage is not Stage.FOSSILIZED]
        return [p for slot in slots for p in self.growth.slot_set.seed_parameters(slot) if p.requires_grad]


def _has_seen(scaler: GradScaler, optimizer: int) -> bool:
    state: Any = scaler._per_optimizer_states.get(optimizer)
    return state is not None and bool(state["found_inf_per_device"])
