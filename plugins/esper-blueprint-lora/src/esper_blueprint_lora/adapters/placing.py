"""Where ranks go, by evidence: the energy of the gradient at the weights (as in DomLoRA, arXiv 2605.06183)."""

from collections.abc import Callable, Iterable, Mapping

from torch import nn

from esper_blueprint_lora.adapters.layer import Layer


def weight_energy(model: nn.Module, losses: Iterable[Callable[[], object]], paths: Iterable[str]) -> dict[str, float]:
    """Return the squared norm of the mean gradient of each layer's weight.

    Args:
        model: its gradients are cleared before and after; what is trained of it is left as it was.
        losses: each computes the loss of a batch and calls its ``backward()``. What they cost is the caller's to count.
        paths: of linear and convolutional layers.
    """
    weights = {path: model.get_submodule(path).get_parameter("weight") for path in paths}
    trained = {path: weight.requires_grad for path, weight in weights.items()}
    model.zero_grad(set_to_none=True)
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        count = 0
        for backward in losses:
            backward()
            count += 1
        sums = {path: weight.grad for path, weight in weights.items()}
        return {
            path: 0.0 if grad is None else float((grad.detach() / max(1, count)).square().sum())
            for path, grad in sums.items()
        }
    finally:
        model.zero_grad(set_to_none=True)
        for path, weight in weights.items():
            weight.requires_grad_(trained[path])


def ranks_by_energy(model: nn.Module, energy: Mapping[str, float], parameters: int) -> dict[str, int]:
    """Share parameters out among layers: rank by rank to the layer with most energy for each parameter it has so far.

    A rank of a layer with n inputs (and kernel positions) and m outputs has n + m parameters. The next rank goes to the
    layer with the highest ``energy / ((n + m) * (rank + 1))`` for which there is room. Ranks of 0 stay in the answer.

    Args:
        model: the network.
        energy: by path, as `weight_energy` gives it.
        parameters: how many there may be in all.
    """
    costs, most = {}, {}
    for path in energy:
        layer = model.get_submodule(path)
        assert isinstance(layer, Layer)
        outputs, inputs = len(layer.weight), layer.weight[0].numel()
        costs[path], most[path] = inputs + outputs, min(inputs, outputs)
    ranks, left = dict.fromkeys(energy, 0), parameters
    while fits := [path for path in energy if costs[path] <= left and ranks[path] < most[path] and energy[path] > 0]:
        best = max(fits, key=lambda path: energy[path] / (costs[path] * (ranks[path] + 1)))
        ranks[best] += 1
        left -= costs[best]
    return ranks
