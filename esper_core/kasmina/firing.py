"""One pass of a model, as its sites see it: how often each fires, what it gives, and who writes into that."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from attrs import define
from torch import Tensor, nn

from esper_core.kasmina.masking import given_mask, mask_position, takes_argument
from esper_core.kasmina.outputs import select
from esper_core.kasmina.undisturbed import undisturbed
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import SiteRequest

#: Runs the model on the traced batch, for models that are not called as ``model(*batch)``.
ForwardCall = Callable[[nn.Module], Any]

_CHOOSE = "choose a submodule that runs once per forward pass and returns one floating-point tensor"


@define
class Firing:
    """What one site did in the traced pass.

    Attributes:
        count: how often it ran.
        position: when.
        given: what it was called with, where it is a linear or convolutional layer.
        tensor, version: its activation, and that tensor's version then.
        problem, mask_problem: what is wrong with its output, and with its mask.
        overwritten: something has written into the activation.
    """

    count: int = 0
    position: int = 0
    given: Tensor | None = None
    tensor: Tensor | None = None
    version: int = 0
    problem: str = ""
    mask_problem: str = ""
    overwritten: bool = False

    def look(self) -> None:
        """Notice whether something has written into the activation since."""
        self.overwritten |= self.tensor is not None and self.tensor._version != self.version


def traced(model: nn.Module, requests: Sequence[SiteRequest], forward: ForwardCall) -> list[Firing]:
    """Run a model once, and once more in training mode, and return what each site did; raises EsperError E401."""
    modules = dict(model.named_modules(remove_duplicate=False))
    uses = Counter(id(module) for module in modules.values())
    firings = [Firing() for _ in requests]
    clock = iter(range(1, 1_000_000_000))
    handles = []
    try:
        for request, firing in zip(requests, firings, strict=True):
            module = modules.get(request.path)
            if module is None or not request.path:
                raise refused(request.path, "no such submodule; " + did_you_mean(request.path, [*modules][1:50]))
            if uses[id(module)] > 1:
                raise refused(request.path, "the module is shared: it stands under more than one name")
            handles.append(module.register_forward_hook(_recorder(request, firing, clock)))
            if request.mask is not None:
                handles.append(module.register_forward_hook(_mask_reader(request, firing), with_kwargs=True))
        with undisturbed(model):
            forward(model)
        for firing in firings:
            firing.look()
    finally:
        for handle in handles:
            handle.remove()
    _look_in_training(model, requests, forward, firings)
    return firings


def _look_in_training(
    model: nn.Module, requests: Sequence[SiteRequest], forward: ForwardCall, firings: Sequence[Firing]
) -> None:
    """Notice what writes into an activation in training only: dropout in place."""
    passed = [Firing() for _ in requests]
    clock = iter(range(1, 1_000_000_000))
    handles = [
        model.get_submodule(request.path).register_forward_hook(_recorder(request, firing, clock))
        for request, firing in zip(requests, passed, strict=True)
    ]
    try:
        with suppress(Exception), undisturbed(model, training=True):
            forward(model)
    finally:
        for handle in handles:
            handle.remove()
    for firing, trained in zip(firings, passed, strict=True):
        trained.look()
        firing.overwritten |= trained.overwritten


def _recorder(request: SiteRequest, firing: Firing, clock: Iterator[int]) -> Callable[[Any, Any, Any], None]:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        firing.count += 1
        firing.position = next(clock)
        firing.given = args[0] if isinstance(module, nn.Linear | nn.Conv2d) and args else None
        try:
            tensor = select(output, request.output)
        except (LookupError, TypeError) as error:
            firing.problem = f"declared output {request.output!r} does not exist: {error}"
            return
        if isinstance(tensor, Tensor):
            firing.tensor, firing.version = tensor, tensor._version
        else:
            kind = type(tensor).__name__
            firing.problem = (
                f"its output is a {kind}, not a tensor; declare which part is meant (output=0, output='key')"
            )

    return record


def _mask_reader(request: SiteRequest, firing: Firing) -> Callable[[Any, Any, Any, Any], None]:
    def read(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if request.mask is None or firing.tensor is None:
            return
        if firing.tensor.ndim != Layout.BTD.rank or request.layout not in (None, Layout.BTD):
            firing.mask_problem = f"a padding mask is for positions, but its output is {tuple(firing.tensor.shape)}"
        elif not takes_argument(module, request.mask):
            firing.mask_problem = f"its forward has no argument {request.mask!r} to take a padding mask from"
        else:
            try:
                given_mask(request.mask, mask_position(module, request.mask), args, kwargs, firing.tensor)
            except ValueError as error:
                firing.mask_problem = f"its argument {request.mask!r} is not a padding mask: {error}"

    return read


def refused(path: str, why: str, fix: str = _CHOOSE) -> EsperError:
    """Return the error that a submodule cannot carry a slot."""
    return EsperError("E401", f'"{path}" cannot carry a slot', why=why, fix=fix)
