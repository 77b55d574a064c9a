"""Finding and confirming sites: one traced batch tells where slots can act."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.kasmina.axes import Findings, Seen, TracedBatch, find_out, module_axes
from esper_core.kasmina.firing import Firing, ForwardCall, refused, traced
from esper_core.kasmina.outputs import select
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.layouts import LAYOUT_BY_RANK, Layout
from esper_core.leyline.sites import Site, SiteRequest


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


def confirm_sites(
    model: nn.Module, requests: Sequence[SiteRequest], forward: "ForwardCall | TracedBatch"
) -> tuple[Site, ...]:
    """Return the confirmed sites in execution order; see `confirm`, which says more."""
    return confirm(model, requests, forward).sites


@frozen(kw_only=True)
class Confirmation:
    """What was found out about a model.

    Attributes:
        sites: its sites, in execution order.
        fixed_batch: the model takes no other number of samples than in the traced batch.
    """

    sites: tuple[Site, ...]
    fixed_batch: bool = False


def confirm(model: nn.Module, requests: Sequence[SiteRequest], forward: "ForwardCall | TracedBatch") -> Confirmation:
    """Trace one batch and say what the sites are.

    Every site must fire exactly once and give one floating tensor of a known layout, whose first axis is that of the
    samples. The passes run uncompiled, in eval mode and under ``no_grad``, one more in training mode; training flags,
    buffers and the random state are put back.

    What a request does not declare is found out by running the batch in other forms (`kasmina.axes`), if a batch is
    given and not a call. Where it stays open whether a position depends on later ones, seeds are made as if none did.

    Args:
        model: the root module.
        requests: declared sites.
        forward: the batch, or a call of the model on it.

    Raises:
        EsperError: E401 naming the first site that cannot carry a slot, and why.
    """
    batch = forward if isinstance(forward, TracedBatch) else None
    run: ForwardCall = forward.run if isinstance(forward, TracedBatch) else forward
    names = [request.id or request.path.replace(".", "_") for request in requests]
    firings = traced(model, requests, run)
    order = sorted(range(len(requests)), key=lambda index: firings[index].position)
    for index in order:
        _check(requests[index], names[index], names, firings[index])
    findings = None if batch is None else _find_out(model, requests, names, batch)
    sites = tuple(
        _confirmed(
            requests[index],
            names[index],
            firings[index],
            None if findings is None else findings.seen.get(names[index]),
            rank,
            len(order),
        )
        for rank, index in enumerate(order)
    )
    return Confirmation(sites=sites, fixed_batch=findings is not None and findings.fixed_batch)


def _find_out(model: nn.Module, requests: Sequence[SiteRequest], names: Sequence[str], batch: TracedBatch) -> Findings:
    def observe(form: TracedBatch) -> Mapping[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str, key: int | str | None) -> Callable[[Any, Any, Any], None]:
            def keeping(module: nn.Module, args: Any, output: Any) -> None:
                seen[name] = select(output, key)

            return keeping

        handles = [
            model.get_submodule(request.path).register_forward_hook(keep(name, request.output))
            for request, name in zip(requests, names, strict=True)
        ]
        try:
            form.run(model)
        finally:
            for handle in handles:
                handle.remove()
        return seen

    findings = find_out(model, batch, observe)
    paths = {name: request.path for request, name in zip(requests, names, strict=True) if name in findings.seen}
    module_axes(model, findings.seen, lambda: batch.run(model), paths)
    return findings


def _check(request: SiteRequest, name: str, names: Sequence[str], firing: Firing) -> None:
    if firing.count != 1:
        how_often = "never fires" if firing.count == 0 else f"fires {firing.count} times"
        raise refused(request.path, f"it {how_often} in one forward pass; a site must fire exactly once")
    if firing.problem or firing.tensor is None:
        raise refused(request.path, firing.problem)
    if not firing.tensor.is_floating_point():
        raise refused(request.path, f"its output is of {firing.tensor.dtype}, not floating point")
    if firing.mask_problem:
        raise refused(
            request.path,
            firing.mask_problem,
            fix="declare as mask the argument of its forward that carries the mask of attention, or leave it out",
        )
    if names.count(name) > 1 or hasattr(nn.ModuleDict, name):
        raise refused(request.path, f'the site id "{name}" is taken; give the site another id')


def _confirmed(request: SiteRequest, name: str, firing: Firing, seen: Seen | None, order: int, count: int) -> Site:
    tensor = firing.tensor
    assert tensor is not None
    layout = _layout(request, tensor, seen)
    causal = request.causal
    if causal is None and layout is Layout.BTD and seen is not None:
        causal = seen.causal is not False
    autocast = torch.is_autocast_enabled(tensor.device.type)
    return Site(
        id=name,
        path=request.path,
        layout=layout,
        width=tensor.shape[layout.width_axis],
        sample_shape=tuple(tensor.shape[1:]),
        output=request.output,
        causal=bool(causal),
        mask=request.mask,
        order=order,
        depth=(order + 1) / count,
        inplace_successor=firing.overwritten,
        dtype=None if autocast else str(tensor.dtype).removeprefix("torch."),
    )


def _layout(request: SiteRequest, tensor: Tensor, seen: Seen | None) -> Layout:
    shape = tuple(tensor.shape)
    layout = request.layout or LAYOUT_BY_RANK.get(tensor.ndim)
    if layout is None or layout.rank != tensor.ndim:
        known = ", ".join(Layout)
        raise refused(request.path, f"its output of shape {shape} fits none of the layouts {known}")
    if seen is None or request.layout is not None:
        return layout
    if seen.rows is False:
        why = f"samples in another order do not give its output of shape {shape} in that order along its first axis"
        raise refused(request.path, f"{why}: that is not the axis of the samples")
    wanted = layout.width_axis
    if wanted in seen.positions or (not seen.positions and seen.features not in (None, wanted)):
        raise refused(
            request.path,
            f"its output of shape {shape} does not have its features in axis {wanted}, as {layout} has",
            fix=f"name a submodule whose output is {layout}",
        )
    if layout.rank > 2 and not seen.positions and seen.features is None:
        raise refused(
            request.path,
            f"it is not known which axis of its output of shape {shape} is that of the features",
            fix=f"say so: SiteRequest(path={request.path!r}, layout={layout.value!r}) where it is {layout}",
        )
    return layout


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
