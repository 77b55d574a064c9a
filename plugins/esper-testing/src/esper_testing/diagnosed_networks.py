"""Small networks that have been trained for a step, for diagnostics to look into."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from esper_core.kasmina.undisturbed import undisturbed
from esper_core.leyline.diagnostics import Diagnostic, NetworkView
from esper_core.leyline.layouts import Layout
from esper_core.leyline.observation import SlotState
from esper_core.leyline.sites import Site

_CLASSES, _VOCABULARY, _WIDTH = 3, 7, 4


def images() -> NetworkView:
    """Return a view of a convolutional network with batch normalisation and dropout."""
    network = nn.Sequential(
        nn.Conv2d(1, _WIDTH, 3, padding=1),
        nn.BatchNorm2d(_WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(_WIDTH * 36, _CLASSES),
    )
    return _view(network, torch.rand(8, 1, 6, 6, generator=_generator()), Layout.NCHW, (_WIDTH, 6, 6))


def tokens() -> NetworkView:
    """Return a view of a network of token sequences, frozen embeddings included."""
    network = nn.Sequential(
        nn.Embedding(_VOCABULARY, _WIDTH), nn.LayerNorm(_WIDTH), nn.Flatten(), nn.Linear(20, _CLASSES)
    )
    network[0].weight.requires_grad_(False)
    return _view(network, torch.randint(_VOCABULARY, (8, 5), generator=_generator()), Layout.BTD, (5, _WIDTH))


def broken() -> NetworkView:
    """Return the network of images with a weight that is not a number."""
    view = images()
    with torch.no_grad():
        next(view.model.parameters()).view(-1)[0] = float("nan")
    return view


def asked(diagnostic: Diagnostic, view: NetworkView) -> Any:
    """Ask a diagnostic as a growing host does."""
    with undisturbed(view.model):
        torch.manual_seed(0)
        return diagnostic.examine(view)


def traces(view: NetworkView) -> dict[str, Any]:
    """Return everything that a diagnostic could change in a network, comparable by bits."""
    parameters = dict(view.model.named_parameters())
    assert isinstance(view.inputs, Tensor), "these networks take one tensor"
    return {
        "weights": {name: _bits(tensor) for name, tensor in view.model.state_dict().items()},
        "gradients": {name: None if p.grad is None else _bits(p.grad) for name, p in parameters.items()},
        "which parameters are trained": {name: p.requires_grad for name, p in parameters.items()},
        "the modules": [name for name, _ in view.model.named_modules()],
        "the mode": [module.training for module in view.model.modules()],
        "hooks": [*_hooks(view.model)],
        "the data": (_bits(view.inputs), _bits(view.targets)),
        "torch's random state": _bits(torch.get_rng_state()),
    }


def _view(network: nn.Module, inputs: Tensor, layout: Layout, shape: tuple[int, ...]) -> NetworkView:
    generator = _generator()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    targets = torch.randint(_CLASSES, (len(inputs),), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cross_entropy(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
    site = Site(id="first", path="0", layout=layout, width=_WIDTH, sample_shape=shape)
    slots = (SlotState(site=site),)
    return NetworkView(
        host="host",
        epoch=3,
        model=network,
        slots=slots,
        inputs=inputs,
        targets=targets,
        criterion=_Classification(),
    )


class _Classification:
    """Loss and metric of one class for each sample."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) == targets).float()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _bits(tensor: Tensor) -> tuple[torch.dtype, list[int]]:
    return tensor.dtype, tensor.detach().contiguous().view(-1).view(torch.uint8).tolist()


def _hooks(network: nn.Module) -> Iterator[int]:
    for module in network.modules():
        yield from (
            len(hooks)
            for name, hooks in vars(module).items()
            if name.endswith(("_hooks", "_pre_hooks")) and hasattr(hooks, "__len__")
        )
