"""The guard at attach: on the host's own activations an artifact computes what the blueprint's module computes."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError, summary
from esper_modules.errors import not_delivered
from esper_tezzeret.verification import awaken


def compare(loaded: nn.Module, module: nn.Module, h: Tensor) -> bool:
    """Say whether an artifact's module gives the bits of the blueprint's on these activations, with their strides.

    The update is compared in evaluation and in training, there with the gradients of the activations and of every
    parameter, and what is left in buffers; with other weights than at birth. Copies are used, and the global random
    state is left as it was.

    Args:
        loaded: the artifact's, with the weights of `module`.
        module: as its blueprint has built it.
        h: activations of the host, (B, ...).

    Raises:
        EsperError: E631 if it raises where the blueprint's does not, or differs by more than the square root of the
            dtype's precision, relative to the largest number of the tensor: what the forge allows.
    """
    exact = True
    for training in (True, False):
        wanted = _results(module, h, training=training)
        try:
            found = _results(loaded, h, training=training)
        except (Exception, SystemExit) as error:  # the code of compilers, which are anybody's
            raise _differs(f"it raised {summary(error)}", h) from error
        for name, value in wanted.items():
            if not _same(value, found.get(name)):
                _require_near(name, value, found.get(name), h)
                exact = False
    return exact


def _results(module: nn.Module, h: Tensor, *, training: bool) -> Mapping[str, Tensor | None]:
    module = deepcopy(module).train(training)
    # At birth the update is zero, and so are most gradients.
    awaken(module)
    given = h.detach().clone().requires_grad_(training)
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(training):
        torch.manual_seed(0)
        delta = module(given)
        if training and delta.requires_grad:
            (delta * given.detach()).sum().backward()
    gradients = {f"the gradient of {name}": it.grad for name, it in module.named_parameters()} if training else {}
    state = {f"{name} after it": it.detach() for name, it in module.state_dict().items()}
    return {"the update": delta.detach(), "the gradient of the activations": given.grad, **gradients, **state}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other is None or (one is not None and other is not None and torch.equal(one, other))


def _require_near(name: str, one: Tensor | None, other: Tensor | None, h: Tensor) -> None:
    if one is None or other is None:
        # A program may say that a gradient is zero where there is none.
        present = one if other is None else other
        if present is not None and bool(present.any()):
            raise _differs(f"{name} is there in one of them alone", h)
        return
    allowed = torch.finfo(h.dtype).eps ** 0.5
    if one.shape != other.shape:
        raise _differs(f"{name} has another shape", h)
    difference = float((one.double() - other.double()).abs().max() / one.double().abs().max().clamp_min(1e-30))
    # Not `>`: NaN compares with nothing.
    if not difference <= allowed:
        raise _differs(f"{name} differs by {difference:.2g}, allowed is {allowed:.2g}", h)


def _differs(why: str, h: Tensor) -> EsperError:
    return not_delivered(f"on activations {tuple(h.shape)} with the strides {h.stride()} {why}")
