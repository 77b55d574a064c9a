"""What torch makes of a network: gradients of single samples, compiled code, shapes without values."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trials.growing import EPOCHS, Net, exported, grow, kept, loss_of, train, vectors
from trials.trial import Trial, Wrong


def trials() -> list[Trial]:
    """Every one."""
    return [
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
