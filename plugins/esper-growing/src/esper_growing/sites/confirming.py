"""Confirming the sites of a network of which nothing is declared: what its axes are is found out, not guessed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from torch import Tensor, nn

from esper_core.kasmina.firing import refused
from esper_core.kasmina.outputs import select
from esper_core.kasmina.sites import confirm_sites, site_id
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site, SiteRequest
from esper_growing.sites.axes import Findings, Seen, TracedBatch, find_out, module_axes


@frozen(kw_only=True)
class Confirmation:
    """What was found out about a model.

    Attributes:
        sites: its sites, in execution order.
        fixed_batch: the model takes no other number of samples than in the traced batch.
    """

    sites: tuple[Site, ...]
    fixed_batch: bool = False


def confirm(model: nn.Module, requests: Sequence[SiteRequest], batch: TracedBatch) -> Confirmation:
    """Trace one batch and say what the sites are.

    Every site must fire exactly once and give one floating tensor of a known layout, whose first axis is that of the
    samples; see `esper_core.kasmina.sites.confirm_sites`. What a request does not declare is found out by running the
    batch in other forms (`esper_growing.sites.axes`). Where it stays open whether a position depends on later ones,
    seeds are made as if none did.

    Args:
        model: the root module.
        requests: declared sites.
        batch: what the model is called with.

    Raises:
        EsperError: E401 naming the first site that cannot carry a slot, and why.
    """
    sites = confirm_sites(model, requests, batch.run)
    named = {site_id(request): request for request in requests}
    findings = _find_out(model, named, batch)
    return Confirmation(
        sites=tuple(_agreed(site, named[site.id], findings.seen.get(site.id)) for site in sites),
        fixed_batch=findings.fixed_batch,
    )


def _find_out(model: nn.Module, requests: Mapping[str, SiteRequest], batch: TracedBatch) -> Findings:
    def observe(form: TracedBatch) -> Mapping[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str, key: int | str | None) -> Callable[[Any, Any, Any], None]:
            def keeping(module: nn.Module, args: Any, output: Any) -> None:
                seen[name] = select(output, key)

            return keeping

        handles = [
            model.get_submodule(request.path).register_forward_hook(keep(name, request.output))
            for name, request in requests.items()
        ]
        try:
            form.run(model)
        finally:
            for handle in handles:
                handle.remove()
        return seen

    findings = find_out(model, batch, observe)
    paths = {name: request.path for name, request in requests.items() if name in findings.seen}
    module_axes(model, findings.seen, lambda: batch.run(model), paths)
    return findings


def _agreed(site: Site, request: SiteRequest, seen: Seen | None) -> Site:
    """Return the site with what was found out, if that agrees with its layout; raises EsperError E401."""
    if seen is None:
        return site
    if request.layout is None:
        _check_axes(request.path, site.layout, tuple(seen.activation.shape), seen)
    if request.causal is None and site.layout is Layout.BTD:
        return evolve(site, causal=seen.causal is not False)
    return site


def _check_axes(path: str, layout: Layout, shape: tuple[int, ...], seen: Seen) -> None:
    if seen.rows is False:
        why = f"samples in another order do not give its output of shape {shape} in that order along its first axis"
        raise refused(path, f"{why}: that is not the axis of the samples")
    wanted = layout.width_axis
    if wanted in seen.positions or (not seen.positions and seen.features not in (None, wanted)):
        raise refused(
            path,
            f"its output of shape {shape} does not have its features in axis {wanted}, as {layout} has",
            fix=f"name a submodule whose output is {layout}",
        )
    if layout.rank > 2 and not seen.positions and seen.features is None:
        raise refused(
            path,
            f"it is not known which axis of its output of shape {shape} is that of the features",
            fix=f"say so: SiteRequest(path={path!r}, layout={layout.value!r}) where it is {layout}",
        )
