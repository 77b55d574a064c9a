"""Optimizers, and schedulers of their learning rates."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from trials.growing import EPOCHS, Net, exported, grow, loss_of, train, vectors
from trials.trial import Trial, Wrong

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with Nesterov momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "AdamW, capturable, its rate a tensor": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.05),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05),
}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 4),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 2 * EPOCHS),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=2 * EPOCHS + 1),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "warm-up, then a cosine (SequentialLR)": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 12)], [4]
    ),
}


def trials() -> list[Trial]:
    """Every one."""
    return [
        *(Trial("Optimizers", name, partial(_optimizer, make)) for name, make in OPTIMIZERS.items()),
        Trial("Optimizers", "Muon", partial(_optimizer, _muon), refused="E406"),
        Trial("Optimizers", "LBFGS", partial(_optimizer, torch.optim.LBFGS), refused="E406"),
        Trial("Optimizers", "SAM, a wrapper with two steps of its own", _sam),
        *(Trial("Schedulers", name, partial(_scheduler, make)) for name, make in SCHEDULERS.items()),
        Trial("Schedulers", "ReduceLROnPlateau", _plateau),
        Trial("Schedulers", "one of a class of one's own", _own_scheduler, refused="E405"),
    ]


def _optimizer(make: Any) -> str:
    model = Net()
    with grow(model, make(model.parameters()), sites=["b"], sample=vectors()[0][0]) as handle:
        train(handle, vectors())
        return exported(handle, vectors()[0][0])


def _muon(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Muon takes matrices only, so somebody has given the rest to another optimizer."""
    return torch.optim.Muon([p for p in parameters if p.ndim == 2], lr=0.02)


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation, as it is usually written: around another optimizer, whose groups it shares."""

    def __init__(self, parameters: Iterable[Tensor], rho: float = 0.05) -> None:
        super().__init__(parameters, {"rho": rho})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.1)
        self.param_groups = self.base_optimizer.param_groups
        self._moved: list[tuple[Tensor, Tensor]] = []

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    @torch.no_grad()
    def first_step(self) -> None:
        """Climb to where the loss is higher."""
        norm = torch.stack([p.grad.norm() for p in self._parameters()]).norm()
        self._moved = [(p, 0.05 * p.grad / (norm + 1e-12)) for p in self._parameters()]
        for p, way in self._moved:
            p.add_(way)

    @torch.no_grad()
    def second_step(self) -> None:
        """Go back, and down from there."""
        for p, way in self._moved:
            p.sub_(way)
        self.base_optimizer.step()


def _sam_step(sam: Sam, model: nn.Module, _: Any, x: Any, y: Tensor) -> None:
    for move in (sam.first_step, sam.second_step):
        sam.zero_grad()
        loss_of(model(x), y).backward()
        move()


def _sam() -> str:
    model = Net()
    sam = Sam(model.parameters())
    with grow(model, sam, sites=["b"]) as handle:
        train(handle, vectors(), step=partial(_sam_step, sam))
        return exported(handle, vectors()[0][0])


def _scheduler(make: Callable[[torch.optim.Optimizer], Any]) -> str:
    model, alone = Net(), torch.optim.SGD(Net().parameters(), lr=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ours, theirs, apart = make(optimizer), make(alone), []

    def after() -> None:
        alone.step()
        ours.step()
        theirs.step()
        apart.append(abs(optimizer.param_groups[0]["lr"] - alone.param_groups[0]["lr"]))

    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors(), after=after)
        if max(apart):
            raise Wrong(f"the network's own rate is {max(apart):.1e} from that without seeds")
        return f"{exported(handle, vectors()[0][0])}, the network's rates are those without seeds"


def _plateau() -> str:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    with grow(model, optimizer, sites=["b"], scheduler=scheduler) as handle:
        train(handle, vectors(), after=lambda: scheduler.step(1.0))
        return exported(handle, vectors()[0][0])


class _Own(lr_scheduler.LRScheduler):
    def get_lr(self) -> list[float]:
        return [0.1 for _ in self.optimizer.param_groups]


def _own_scheduler() -> str:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    grow(model, optimizer, sites=["b"], scheduler=_Own(optimizer))
    return "it was accepted"
