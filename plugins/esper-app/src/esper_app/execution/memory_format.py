"""The memory format of images in a host."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from esper_app.configuration.training import MemoryFormat
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import undisturbed
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout

_FORMATS = {
    MemoryFormat.CONTIGUOUS: torch.contiguous_format,
    MemoryFormat.CHANNELS_LAST: torch.channels_last,
}


def keep_memory_format(slot_set: SlotSet, memory_format: MemoryFormat, sample: Tensor) -> None:
    """Bring a host's weights, and the images of every forward pass, into a memory format.

    Args:
        slot_set: the host.
        memory_format: any but `MemoryFormat.HOST`.
        sample: a few inputs.

    Raises:
        EsperError: E202 if the activations at the host's sites have it not.
    """
    model, wanted = slot_set.model, _FORMATS[memory_format]
    for parameter in model.parameters():
        if parameter.ndim == Layout.NCHW.rank:
            # Not `contiguous`: with a single channel both formats are, and yet the strides say which one is meant.
            parameter.data = parameter.data.clone(memory_format=wanted)
    model.register_forward_pre_hook(partial(_converted, wanted))
    passed = _activations(slot_set, sample)
    if not passed:
        raise _refused(memory_format, "none of its sites has images")
    for path, activation in passed.items():
        if not activation.is_contiguous(memory_format=wanted):
            raise _refused(memory_format, f'the host gives the activations of "{path}" another one')


def _converted(wanted: torch.memory_format, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    images = (isinstance(one, Tensor) and one.ndim == Layout.NCHW.rank for one in args)
    return tuple(
        one.contiguous(memory_format=wanted) if is_one else one for one, is_one in zip(args, images, strict=True)
    )


def _activations(slot_set: SlotSet, sample: Tensor) -> dict[str, Tensor]:
    passed: dict[str, Tensor] = {}
    paths = [site.path for site in slot_set.sites.values() if site.layout is Layout.NCHW and site.output is None]

    def keep(module: nn.Module, args: Any, output: Tensor, path: str) -> None:
        passed[path] = output

    handles = [slot_set.model.get_submodule(path).register_forward_hook(partial(keep, path=path)) for path in paths]
    try:
        with undisturbed(slot_set.model):
            slot_set.model(sample)
    finally:
        for handle in handles:
            handle.remove()
    return passed


def _refused(memory_format: MemoryFormat, why: str) -> EsperError:
    return EsperError(
        "E202",
        f'the host cannot be kept in the memory format "{memory_format}"',
        where="training.memory_format",
        why=why,
        fix="--memory-format host",
    )
