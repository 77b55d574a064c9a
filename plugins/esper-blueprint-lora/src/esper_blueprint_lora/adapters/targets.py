"""Which layers an adapter can change, and which weights it can be merged into."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor, nn

from esper_blueprint_lora.adapters.layer import Layer
from esper_core.api import EsperError


def layers_of(model: nn.Module, targets: Iterable[str]) -> list[str]:
    """Return the paths of the layers that targets name: whole paths, patterns of them, or their last parts.

    Raises:
        EsperError: E647 if a target names no linear or convolutional layer, or one that cannot be adapted.
    """
    layers = {path: module for path, module in model.named_modules() if isinstance(module, Layer)}
    found: dict[str, None] = {}
    for target in targets:
        fits = [it for it in layers if it == target or fnmatchcase(it, target) or it.endswith(f".{target}")]
        if not fits:
            near = get_close_matches(target, layers, 1)
            why = "it takes nn.Linear and nn.Conv2d" + (f"; did you mean {near[0]}?" if near else "")
            raise refused(f'no layer to adapt is called "{target}"', why, "name paths of linear layers")
        found |= dict.fromkeys(fits)
    for path in found:
        refuse_unfit(path, layers[path])
    if not found:
        raise refused("an adapter needs targets", "none were named", "name paths of linear layers")
    return [*found]


def refuse_unfit(path: str, layer: nn.Module) -> None:
    """Raise EsperError E647 if a layer cannot be adapted."""
    if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or layer.padding_mode != "zeros"):
        why = "its convolution has groups, or its padding is not zeros"
        raise refused(f'"{path}" cannot be adapted', why, "leave it out of targets")


def refuse_merging(model: nn.Module, path: str) -> None:
    """Raise EsperError E647 if the weight of a layer cannot be changed without changing another layer."""
    weight: Tensor = model.get_submodule(path).get_parameter("weight")
    owners = [it for it in model.modules() if any(own is weight for own in it._parameters.values())]
    if len(owners) > 1 or not weight.is_floating_point():
        why = "its weight is not of floating point" if len(owners) < 2 else "it shares its weight with another layer"
        raise refused(f'nothing can be merged into "{path}"', why, "leave the adapter active, or that layer out")


def refused(what: str, why: str, fix: str) -> EsperError:
    """Return the error E647."""
    return EsperError("E647", what, why=why, fix=fix)
