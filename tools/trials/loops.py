"""Optimizers, schedulers and habits of training loops."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler, swa_utils
from torch.utils.checkpoint import checkpoint

from trials.growing import (
    EPOCHS,
    Net,
    exported,
    grow,
    grown,
    kept,
    loss_of,
    plain_step,
    train,
    vectors,
)
from trials.trial import Refused, Trial, Wrong

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
        Trial("Training loops", "float64", lambda: _net(dtype=torch.float64)),
        Trial("Training loops", "bfloat16 weights", lambda: _net(dtype=torch.bfloat16)),
        Trial("Training loops", "autocast in bfloat16", partial(_stepped, _autocast)),
        Trial("Training loops", "GradScaler and autocast in float16", _scaled),
        Trial("Training loops", "`clip_grad_norm_(model.parameters(), ...)`", partial(_stepped, _clipped)),
        Trial("Training loops", "accumulation over three batches", _accumulated),
        Trial("Training loops", "`optimizer.step(closure)`", partial(_stepped, _closure)),
        Trial("Training loops", "`torch.utils.checkpoint`, not reentrant", partial(_checkpointed, reentrant=False)),
        Trial("Training loops", "`torch.utils.checkpoint`, reentrant", partial(_checkpointed, reentrant=True)),
        Trial("Training loops", "a frozen network, of which only seeds learn", _frozen),
        Trial("Averages", "EMA (`AveragedModel`), made before the growth", _averaged, refused="torch"),
        Trial("Averages", "EMA, made again for what has grown", _averaged_again),
        Trial("Averages", "SWA (`AveragedModel`, `SWALR`), made for what has grown", _swa),
        Trial("Transforms of torch", "`torch.func`: gradients of single samples of what was exported", _per_sample),
        *(
            Trial("Transforms of torch", f"`torch.func` and `vmap` over a seed in {stage}", partial(_vmap_alive, stage))
            for stage in ("TRAINING", "BLENDING", "PROBATIONARY")
        ),
        Trial("Transforms of torch", "a network on the meta device", _meta, refused="E402"),
        Trial("Transforms of torch", "`torch.compile`, before `grow`", partial(_compiled, "before")),
        Trial("Transforms of torch", "`torch.compile`, after `grow`", partial(_compiled, "after")),
        Trial("Transforms of torch", "`model.compile()`, in place", partial(_compiled, "in place")),
    ]


def _net(dtype: torch.dtype = torch.float32) -> str:
    batches = [(x.to(dtype), y) for x, y in vectors()]
    return grown(Net().to(dtype), batches, sites=["b"])


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


def _stepped(step: Any) -> str:
    return grown(Net(), vectors(), sites=["b"], step=step)


def _autocast(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model(x), y)
    loss.backward()
    optimizer.step()


def _scaled() -> str:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = loss_of(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return grown(Net(), vectors(), sites=["b"], step=step)


def _clipped(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
    optimizer.zero_grad()
    loss_of(model(x), y).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    optimizer.step()


def _accumulated() -> str:
    count = 0

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
        nonlocal count
        count += 1
        (loss_of(model(x), y) / 3).backward()
        if count % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    return grown(Net(), vectors(144), sites=["b"], step=step)


def _closure(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        return loss.item()

    optimizer.step(closure)


class _Checkpointed(Net):
    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(lambda it: torch.relu(self.b(torch.relu(it))), self.a(x), use_reentrant=self.reentrant)
        out: Tensor = self.c(h)
        return out


def _checkpointed(*, reentrant: bool) -> str:
    model = _Checkpointed()
    model.reentrant = reentrant
    return grown(model, vectors(), sites=["b"])


def _frozen() -> str:
    model = Net().requires_grad_(False)
    before = deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.02)
    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors(), step=_where_it_can)
        if any(not torch.equal(value, model.state_dict()[name]) for name, value in before.items()):
            raise Wrong("the frozen network has changed")
        return exported(handle, vectors()[0][0])


def _where_it_can(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Tensor) -> None:
    """Before the first seed nothing can be trained."""
    optimizer.zero_grad()
    loss = loss_of(model(x), y)
    if loss.requires_grad:
        loss.backward()
        optimizer.step()


def _averaged() -> str:
    model = Net()
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        try:
            train(handle, vectors(), after=lambda: average.update_parameters(model))
        except ValueError:  # torch compares the two lists of parameters
            raise Refused("torch does not update a copy that has fewer parameters than the network") from None
    return "the copy was updated"


def _averaged_again() -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors())
        kept(handle)
        average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
        for x, y in vectors():
            plain_step(model, optimizer, x, y)
            average.update_parameters(model)
    mine, theirs = dict(model.named_parameters()), dict(average.module.named_parameters())
    if mine.keys() != theirs.keys() or all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise Wrong("the copy does not follow the network")
    return "1 seed kept; the copy has it and follows it"


def _swa() -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"], epochs=EPOCHS + 4) as handle:
        train(handle, vectors())
        kept(handle)
        average, scheduler = swa_utils.AveragedModel(model), swa_utils.SWALR(optimizer, swa_lr=0.01)

        def after() -> None:
            average.update_parameters(model)
            scheduler.step()

        train(handle, vectors(), after=after, epochs=4)
        swa_utils.update_bn([x for x, _ in vectors()], average)
        with torch.no_grad():
            if not bool(average(vectors()[0][0]).isfinite().all()):
                raise Wrong("the average is not finite")
        return exported(handle, vectors()[0][0])


def _gradients(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: Any, one: Tensor, target: Tensor) -> Tensor:
        return loss_of(torch.func.functional_call(model, weights, (one[None],)), target[None])

    found: dict[str, Tensor] = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    return found


def _compare_per_sample(model: nn.Module, said: str) -> str:
    x, y = vectors()[0]
    rows, parameters = _gradients(model, x, y), dict(model.named_parameters())
    whole = torch.autograd.grad(loss_of(model(x), y), [*parameters.values()], materialize_grads=True)
    for name, gradient in zip(parameters, whole, strict=True):
        if not torch.allclose(rows[name].mean(0), gradient, atol=1e-5):
            raise Wrong(f"the mean of the gradients of {name} is not that of the batch")
    return f"{said}; their mean is the gradient of the batch"


def _per_sample() -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors())
        kept(handle)
        return _compare_per_sample(handle.export(), "1 seed kept")


def _vmap_alive(until: str) -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        for _ in range(EPOCHS):
            train(handle, vectors(), epochs=1)
            if handle.slots[0].stage.name == until:
                return _compare_per_sample(model.train(), f"a seed in {until}")
        raise Wrong(f"no seed was in {until}")


def _meta() -> str:
    with torch.device("meta"):
        model = Net()
    grow(model, torch.optim.SGD(model.parameters(), lr=0.1), sites=["b"], sample=vectors()[0][0].to("meta"))
    return "it was accepted"


def _compiled(when: str) -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    if when == "before":
        compiled = torch.compile(model, backend="aot_eager")
        handle = grow(compiled, optimizer, sites=["b"])
    else:
        handle = grow(model, optimizer, sites=["b"])
        compiled = torch.compile(handle.model, backend="aot_eager") if when == "after" else model
    if when == "in place":
        model.compile(backend="aot_eager")
    with handle:
        train(handle, vectors(), model=compiled)
        with torch.no_grad():
            apart = float((compiled.eval()(vectors()[0][0]) - Net.forward(model, vectors()[0][0])).abs().max())
        if apart > 1e-5:
            raise Wrong(f"compiled and plain outputs differ by {apart:.1e}")
        return f"{exported(handle, vectors()[0][0])}; compiled and plain outputs agree"
