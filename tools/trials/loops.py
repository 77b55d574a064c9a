"""Habits of training loops, and averages of weights."""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import swa_utils
from torch.utils.checkpoint import checkpoint

from trials.growing import EPOCHS, Net, exported, grow, grown, kept, loss_of, plain_step, train, vectors
from trials.trial import Refused, Trial, Wrong


def trials() -> list[Trial]:
    """Every one."""
    return [
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
    ]


def _net(dtype: torch.dtype = torch.float32) -> str:
    batches = [(x.to(dtype), y) for x, y in vectors()]
    return grown(Net().to(dtype), batches, sites=["b"])


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
