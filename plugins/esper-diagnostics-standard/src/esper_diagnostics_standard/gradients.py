"""Gradients and weights of every parameter. No gradient of the network's own is touched."""

from collections.abc import Collection, Mapping, Sequence
from math import ceil, hypot

import torch
from torch import Tensor, nn

from esper_diagnostics_standard.config import StandardConfig
from esper_diagnostics_standard.findings import GradientFigures, LayerFigures
from esper_diagnostics_standard.pending import Pending

#: Percentiles are those of this many gradients at most: of more, every n-th is taken.
MOST = 1 << 20


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Return the gradient of each trained parameter that the loss depends on, by name."""
    trained = {name: it for name, it in model.named_parameters() if it.requires_grad}
    if not trained or not loss.requires_grad:
        return {}
    found = torch.autograd.grad(loss, [*trained.values()], allow_unused=True)
    return {name: it.detach() for name, it in zip(trained, found, strict=True) if it is not None}


def look_at_parameters(model: nn.Module, found: Mapping[str, Tensor], config: StandardConfig, pending: Pending) -> None:
    """Have the figures of all parameters, and of their gradients, brought over."""
    for name, parameter in model.named_parameters():
        pending.add(f"weight {name}", torch.linalg.vector_norm(parameter.detach().float()))
    for name, gradient in found.items():
        size = gradient.abs()
        pending.add(f"gradient {name}", torch.linalg.vector_norm(gradient.float()))
        pending.add(f"vanishing {name}", (size < config.vanishing).sum())
        pending.add(f"exploding {name}", (size > config.exploding).sum())
    if found and config.percentiles:
        pending.add("percentiles", percentiles(found.values(), config.percentiles))


def percentiles(found: Collection[Tensor], at: Sequence[float]) -> Tensor:
    """Return percentiles of the absolute values of tensors, interpolated linearly, (len(at),), without waiting."""
    step = -(-sum(it.numel() for it in found) // MOST)
    ordered = torch.cat([it.abs().float().flatten()[::step] for it in found]).sort().values
    places = [one / 100 * (len(ordered) - 1) for one in at]
    return torch.stack([torch.lerp(ordered[int(it)], ordered[ceil(it)], it - int(it)) for it in places])


def layer_figures(model: nn.Module, pending: Pending) -> tuple[LayerFigures, ...]:
    """Return what came over of every parameter."""
    return tuple(
        LayerFigures(
            name=name,
            weight_norm=pending.one(f"weight {name}"),
            gradient_norm=pending.one(f"gradient {name}"),
            vanishing=pending.one(f"vanishing {name}") / parameter.numel(),
            exploding=pending.one(f"exploding {name}") / parameter.numel(),
        )
        if f"gradient {name}" in pending
        else LayerFigures(name=name, weight_norm=pending.one(f"weight {name}"))
        for name, parameter in model.named_parameters()
    )


def gradient_figures(found: Mapping[str, Tensor], config: StandardConfig, pending: Pending) -> GradientFigures | None:
    """Return what came over of all gradients together; None if there are none."""
    if not found:
        return None
    count = sum(it.numel() for it in found.values())
    vanishing = sum(pending.one(f"vanishing {name}") for name in found) / count
    exploding = sum(pending.one(f"exploding {name}") for name in found) / count
    values = pending.all("percentiles") if config.percentiles else []
    return GradientFigures(
        norm=hypot(*(pending.one(f"gradient {name}") for name in found)),
        percentiles={f"{at:g}": value for at, value in zip(config.percentiles, values, strict=True)},
        vanishing=vanishing,
        exploding=exploding,
        health=max(0.0, 1.0 - 0.5 * vanishing - 0.8 * exploding),
    )
