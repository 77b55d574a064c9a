"""Which layers of a residual block write to its stream: those that make it the identity when they are zero."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Call = Callable[[Tensor], Tensor]


def zero_outputs(module: nn.Module, call: Call, h: Tensor) -> tuple[str, ...]:
    """Set to zero the parameters of as few layers as make ``call(h) == h`` exactly, and return the layers' names.

    Layers are tried in the order in which they run, and get their parameters back if the module is the identity all
    the same: what stays zero are the last layers of the branches. If all of them do not make it the identity, the
    module is no residual block; then it is left as it was, and there are no names.

    Args:
        module: a submodule with inputs and outputs of one shape.
        call: calls it.
        h: some input.
    """
    layers = _in_order(module, call, h)
    kept = {name: [p.detach().clone() for p in layer.parameters(recurse=False)] for name, layer in layers.items()}
    for layer in layers.values():
        _zero(layer)
    if not layers or not torch.equal(call(h), h):
        for name, layer in layers.items():
            _put_back(layer, kept[name])
        return ()
    zeroed = []
    for name, layer in layers.items():
        _put_back(layer, kept[name])
        if not torch.equal(call(h), h):
            _zero(layer)
            zeroed.append(name)
    return tuple(zeroed)


def _in_order(module: nn.Module, call: Call, h: Tensor) -> Mapping[str, nn.Module]:
    """Return the layers with parameters of their own, in the order in which they first return.

    What does not run by itself, as the last projection of torch's attention, follows on what it stands in.
    """
    parts = dict(module.named_modules())
    returned: dict[str, int] = {}
    handles = [part.register_forward_hook(_noting(returned, name)) for name, part in parts.items()]
    try:
        call(h)
    finally:
        for handle in handles:
            handle.remove()

    def place(name: str) -> tuple[int, int]:
        around = name
        while around not in returned and around:
            around = around.rpartition(".")[0]
        return returned.get(around, 0), len(name) - len(around)

    own = [name for name, part in parts.items() if any(True for _ in part.parameters(recurse=False))]
    return {name: parts[name] for name in sorted(own, key=place)}


def _noting(returned: dict[str, int], name: str) -> Callable[[nn.Module, object, object], None]:
    def note(part: nn.Module, args: object, output: object) -> None:
        returned.setdefault(name, len(returned))

    return note


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters(recurse=False):
        nn.init.zeros_(parameter)


def _put_back(layer: nn.Module, values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(recurse=False), values, strict=True):
            parameter.copy_(value)
