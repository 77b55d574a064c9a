"""Confirming sites: one traced batch tells where slots can act."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from esper_core.kasmina.firing import Firing, ForwardCall, refused, traced
from esper_core.leyline.layouts import LAYOUT_BY_RANK, Layout
from esper_core.leyline.sites import Site, SiteRequest


def confirm_sites(model: nn.Module, requests: Sequence[SiteRequest], forward: ForwardCall) -> tuple[Site, ...]:
    """Trace one batch and return the confirmed sites in execution order.

    Every site must fire exactly once and give one floating tensor of a known layout. The passes run uncompiled, in eval
    mode and under ``no_grad``, one more in training mode; training flags, buffers and the random state are put back.
    What the axes of an activation are is taken as declared, or by the number of axes; `esper_growing.sites.confirming`
    finds it out for a network of which nothing is declared.

    Args:
        model: the root module.
        requests: declared sites.
        forward: a call of the model on one batch.

    Raises:
        EsperError: E401 naming the first site that cannot carry a slot, and why.
    """
    names = [site_id(request) for request in requests]
    firings = traced(model, requests, forward)
    order = sorted(range(len(requests)), key=lambda index: firings[index].position)
    for index in order:
        _check(requests[index], names[index], names, firings[index])
    return tuple(
        _confirmed(requests[index], names[index], firings[index], rank, len(order)) for rank, index in enumerate(order)
    )


def site_id(request: SiteRequest) -> str:
    """Return the id of the site: the one that was asked for, or its path without dots."""
    return request.id or request.path.replace(".", "_")


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


def _confirmed(request: SiteRequest, name: str, firing: Firing, order: int, count: int) -> Site:
    tensor = firing.tensor
    assert tensor is not None
    layout = _layout(request, tensor)
    autocast = torch.is_autocast_enabled(tensor.device.type)
    return Site(
        id=name,
        path=request.path,
        layout=layout,
        width=tensor.shape[layout.width_axis],
        sample_shape=tuple(tensor.shape[1:]),
        output=request.output,
        causal=bool(request.causal),
        mask=request.mask,
        order=order,
        depth=(order + 1) / count,
        inplace_successor=firing.overwritten,
        dtype=None if autocast else str(tensor.dtype).removeprefix("torch."),
        input_shape=() if firing.given is None else tuple(firing.given.shape[1:]),
    )


def _layout(request: SiteRequest, tensor: Tensor) -> Layout:
    layout = request.layout or LAYOUT_BY_RANK.get(tensor.ndim)
    if layout is None or layout.rank != tensor.ndim:
        known = ", ".join(Layout)
        raise refused(request.path, f"its output of shape {tuple(tensor.shape)} fits none of the layouts {known}")
    return layout
