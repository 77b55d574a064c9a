"""Running a network to find something out, without leaving a trace in it."""

import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """No gradients, nothing compiled; training flags, buffers and the random state are put back.

    Args:
        model: it is in eval mode meanwhile.
        training: it is as it is trained instead: in training mode, with those parts in eval mode that are in it while
            the rest is not.
    """
    cuda = [device for device in {p.device for p in model.parameters()} if device.type == "cuda"]
    with (
        kept_modes(model),
        restored_buffers(model),
        torch.random.fork_rng(devices=cuda),
        torch.no_grad(),
        eagerly(),
    ):
        if not training:
            model.eval()
        elif not model.training:
            model.train()
        yield


def eagerly() -> AbstractContextManager[object]:
    """Keep what is compiled for training from being compiled again for what is only tried."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def seed_random_state(seed: int, device: torch.device) -> None:
    """Do what ``torch.manual_seed`` does, for a network on this device.

    Where CUDA has not been initialised, that call formats a stack trace each time: as long as a small training step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Put every module's training flag back afterwards: some are in eval mode on purpose."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def restored_buffers(model: nn.Module, *, besides: Collection[nn.Module] = ()) -> Iterator[None]:
    """Bring a model's buffers back afterwards, those of the modules `besides` left out."""
    left_out = {id(buffer) for module in besides for buffer in module.buffers()}
    saved = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and id(buffer) not in left_out
    ]
    try:
        yield
    finally:
        # Version counters do not tell which have changed: batch normalisation writes past them.
        for module, name, buffer, copy in saved:
            with torch.no_grad():
                buffer.copy_(copy)
            module._buffers[name] = buffer
