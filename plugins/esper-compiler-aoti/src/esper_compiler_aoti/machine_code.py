"""A seed that runs machine code where that computes what the seed itself would, and its own code everywhere else."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

#: What a module of it has beside its own attributes.
_CODE = "_esper_machine_code"

#: A tensor of any other class stands for something else: a trace, a batch of batches.
_PLAIN = (Tensor, nn.Parameter)


@frozen
class Signature:
    """What code was compiled for: the shape of a tensor, that of an activation without the batch, and its dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def plain(self) -> list[Any]:
        """Return it as JSON has it."""
        return [list(self.shape), str(self.dtype).removeprefix("torch.")]

    def fits(self, tensor: Tensor, shape: tuple[int, ...], *, learns: bool) -> bool:
        """Whether the code takes a tensor of this shape, where gradients are wanted or not."""
        plain = type(tensor) in _PLAIN and tensor.is_cpu and tensor.dtype is self.dtype and shape == self.shape
        return plain and not (learns and tensor.requires_grad)


@frozen(eq=False)
class MachineCode:
    """Code that takes an activation and all state of a seed, and returns the update. It has no state of its own.

    Attributes:
        run: the code; takes the tensors in order.
        h: the activation that it takes, without the batch.
        state: parameters and buffers that it takes, by name, in order.
    """

    run: Callable[[list[Tensor]], Sequence[Tensor]]
    h: Signature
    state: Mapping[str, Signature]

    def __deepcopy__(self, memo: dict[int, Any]) -> "MachineCode":
        return self

    def arguments(self, module: nn.Module, h: Tensor) -> list[Tensor] | None:
        """Return what to call the code with; None if it must not be used for this call.

        It checks nothing itself: given another shape it reads beyond the tensor. It has no gradients, and knows one
        dtype. So it is used for the very tensors that it was compiled for, where nothing is learned, and where nobody
        looks at the operations: no trace, no transform of torch.func, no autocast, no mode of torch's dispatcher.
        """
        if _watched() or not _evaluates(module, outer=True) or h.dim() != len(self.h.shape) + 1 or not len(h):
            return None
        names = [*self.state]
        found = attrgetter(*names)(module) if names else ()
        state = (found,) if len(names) == 1 else found
        learns = torch.is_grad_enabled()
        if not self.h.fits(h, h.shape[1:], learns=learns):
            return None
        for tensor, signature in zip(state, self.state.values(), strict=True):
            if not signature.fits(tensor, tensor.shape, learns=learns):
                return None
        return [h.contiguous(), *(it.contiguous() for it in state)]


class _WithCode(nn.Module):
    """Stands in front of a seed's class."""

    def forward(self, h: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the update of `h`; a padding mask, or whatever else a seed takes, is for its own code."""
        code: MachineCode = self.__dict__[_CODE]
        arguments = None if args or kwargs else code.arguments(self, h)
        if arguments is None:
            delta: Tensor = super().forward(h, *args, **kwargs)
            return delta
        return code.run(arguments)[0]


def with_code(module: nn.Module, code: MachineCode) -> nn.Module:
    """Return the module, which runs the code from now on where it may. Its names and values are as before.

    Copies of it run the code with their own values.
    """
    kind = type(module)
    module.__class__ = type(kind.__name__, (_WithCode, kind), {"__module__": kind.__module__})
    module.__dict__[_CODE] = code
    return module


def signatures(module: nn.Module) -> dict[str, Signature]:
    """Return parameters and buffers by name, those that are not saved too; a tensor of two names is there twice."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: Signature(tuple(it.shape), it.dtype) for name, it in named}


def _watched() -> bool:
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.is_autocast_enabled("cpu")
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.maybe_current_level() is not None
    )


def _evaluates(module: nn.Module, *, outer: bool = False) -> bool:
    """Whether a seed is in evaluation, and nobody hears of what goes in and out of a part of it.

    Hooks of the seed as a whole, `outer`, are called all the same.
    """
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    if module.training or (hooked and not outer):
        return False
    return all(child is None or _evaluates(child) for child in module._modules.values())
