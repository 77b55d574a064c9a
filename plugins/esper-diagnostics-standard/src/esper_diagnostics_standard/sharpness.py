"""How sharp the minimum is: what the loss does when filters are moved by a share of their norm.

Filter normalisation: Li et al. 2018, Visualizing the Loss Landscape of Neural Nets, section 4. Biases and the scales of
normalisations are not moved, as there.
"""

import torch
from torch import Tensor, nn

from esper_core.api import NetworkView
from esper_diagnostics_standard.forward import loss, outputs


def losses_around(view: NetworkView, samples: int, scale: float) -> Tensor:
    """Return the mean loss of the batch with the weights moved in each of some random directions, (samples,).

    The network's own weights are not touched: others are put in their place for the pass.

    Args:
        view: the network.
        samples: how many directions.
        scale: how far each filter is moved, as a share of its norm.
    """
    found = []
    for _ in range(samples):
        moved = {name: it + scale * _direction(it) for name, it in _filters(view.model)}
        found.append(loss(view, outputs(view, moved)))
    return torch.stack(found)


def _filters(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, it.detach()) for name, it in model.named_parameters() if it.ndim > 1 and it.is_floating_point()]


def _direction(weight: Tensor) -> Tensor:
    """A random direction in which each filter, a row of the weight, has the norm that the filter itself has."""
    drawn = torch.randn_like(weight)
    sizes = torch.linalg.vector_norm(drawn.flatten(1), dim=1), torch.linalg.vector_norm(weight.flatten(1), dim=1)
    factor = sizes[1] / sizes[0].clamp_min(torch.finfo(weight.dtype).tiny)
    moved: Tensor = drawn * factor.view(-1, *[1] * (weight.ndim - 1))
    return moved
