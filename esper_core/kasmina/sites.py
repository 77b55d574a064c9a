"""Finding and confirming sites: one traced batch tells where slots can act."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from attrs import define
from torch import Tensor, nn

from esper_core.kasmina.masking import given_mask, mask_position, takes_argument
from esper_core.kasmina.outputs import select
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.sites import LAYOUT_BY_RANK, Layout, Site, SiteRequest

#: Runs the model on the traced batch, for models that are not called as ``model(*batch)``.
ForwardCall = Callable[[nn.Module], Any]

_CHOOSE = "choose a submodule that runs once per forward pass and returns one floating-point tensor"


def find_sites(model: nn.Module, patterns: Iterable[str]) -> tuple[SiteRequest, ...]:
    """Return a request for every submodule whose name matches one of the glob patterns.

    ``layer*`` matches ``layer1`` but not ``layer1.0``: a ``*`` stops at a dot.

    Raises:
        EsperError: E401 if a pattern matches nothing.
    """
    names = [name for name, _ in model.named_modules() if name]
    found: list[str] = []
    for pattern in patterns:
        matching = [name for name in names if _matches(name, pattern)]
        if not matching:
            raise EsperError(
                "E401",
                f'no submodule is named "{pattern}"',
                where=type(model).__name__,
                why=did_you_mean(pattern, names[:50]),
                fix="give names or glob patterns from model.named_modules()",
            )
        found += [name for name in matching if name not in found]
    return tuple(SiteRequest(path=name) for name in found)


def confirm_sites(model: nn.Module, requests: Sequence[SiteRequest], forward: ForwardCall) -> tuple[Site, ...]:
    """Trace one forward pass and return the confirmed sites in execution order.

    Every site must fire exactly once and give one floating tensor of a known layout. The pass runs in eval mode, under
    ``no_grad`` and with the random state restored afterwards; training flags are left as they were.

    Args:
        model: the root module.
        requests: declared sites.
        forward: calls the model on one batch of at least one sample.

    Raises:
        EsperError: E401 naming the first site that cannot carry a slot, and why.
    """
    names = [request.id or request.path.replace(".", "_") for request in requests]
    firings = _trace(model, requests, forward)
    order = sorted(range(len(requests)), key=lambda index: firings[index].position)
    return tuple(
        _confirmed(requests[index], names[index], names, firings[index], rank, len(order))
        for rank, index in enumerate(order)
    )


@define
class _Firing:
    """What one site did in the traced pass."""

    count: int = 0
    position: int = 0
    tensor: Tensor | None = None
    version: int = 0
    problem: str = ""
    mask_problem: str = ""

    @property
    def overwritten(self) -> bool:
        return self.tensor is not None and self.tensor._version != self.version


def _trace(model: nn.Module, requests: Sequence[SiteRequest], forward: ForwardCall) -> list[_Firing]:
    modules = dict(model.named_modules(remove_duplicate=False))
    uses = Counter(id(module) for module in modules.values())
    firings = [_Firing() for _ in requests]
    clock = iter(range(1, 1_000_000_000))
    handles = []
    try:
        for request, firing in zip(requests, firings, strict=True):
            module = modules.get(request.path)
            if module is None or not request.path:
                raise _refused(request.path, "no such submodule; " + did_you_mean(request.path, [*modules][1:50]))
            if uses[id(module)] > 1:
                raise _refused(request.path, "the module is shared: it stands under more than one name")
            handles.append(module.register_forward_hook(_recorder(request, firing, clock)))
            if request.mask is not None:
                handles.append(module.register_forward_hook(_mask_reader(request, firing), with_kwargs=True))
        with _undisturbed(model):
            forward(model)
    finally:
        for handle in handles:
            handle.remove()
    return firings


def _recorder(request: SiteRequest, firing: _Firing, clock: Iterator[int]) -> Callable[[Any, Any, Any], None]:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        firing.count += 1
        firing.position = next(clock)
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


def _mask_reader(request: SiteRequest, firing: _Firing) -> Callable[[Any, Any, Any, Any], None]:
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
                firing.mask_problem = f"its argument {request.mask!r} is no padding mask: {error}"

    return read


def _confirmed(request: SiteRequest, name: str, names: Sequence[str], firing: _Firing, order: int, count: int) -> Site:
    if firing.count != 1:
        how_often = "never fires" if firing.count == 0 else f"fires {firing.count} times"
        raise _refused(request.path, f"it {how_often} in one forward pass; a site must fire exactly once")
    if firing.problem or firing.tensor is None:
        raise _refused(request.path, firing.problem)
    tensor = firing.tensor
    if not tensor.is_floating_point():
        raise _refused(request.path, f"its output is of {tensor.dtype}, not floating point")
    layout = request.layout or LAYOUT_BY_RANK.get(tensor.ndim)
    if layout is None or layout.rank != tensor.ndim:
        known = ", ".join(Layout)
        raise _refused(request.path, f"its output of shape {tuple(tensor.shape)} fits none of the layouts {known}")
    if firing.mask_problem:
        raise _refused(
            request.path,
            firing.mask_problem,
            fix="declare as mask the argument of its forward that carries the mask of attention, or leave it out",
        )
    if names.count(name) > 1 or hasattr(nn.ModuleDict, name):
        raise _refused(request.path, f'the site id "{name}" is taken; give the site another id')
    return Site(
        id=name,
        path=request.path,
        layout=layout,
        width=tensor.shape[layout.width_axis],
        sample_shape=tuple(tensor.shape[1:]),
        output=request.output,
        causal=request.causal,
        mask=request.mask,
        order=order,
        depth=(order + 1) / count,
        inplace_successor=firing.overwritten,
    )


def _refused(path: str, why: str, fix: str = _CHOOSE) -> EsperError:
    return EsperError("E401", f'"{path}" cannot carry a slot', why=why, fix=fix)


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients; every module's training flag and the random state are put back."""
    flags = [(module, module.training) for module in model.modules()]
    cuda = [device for device in {p.device for p in model.parameters()} if device.type == "cuda"]
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            yield
    finally:
        for module, training in flags:
            module.training = training
