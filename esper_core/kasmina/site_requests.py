"""From what a user calls sites to requests that can be confirmed."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve
from torch import nn

from esper_core.kasmina.sites import find_sites
from esper_core.leyline.errors import EsperError
from esper_core.leyline.sites import SiteRequest
from esper_core.plugins.plugin_set import PluginSet


def site_requests(
    model: nn.Module, sites: str | SiteRequest | Iterable[str | SiteRequest] | None, plugins: PluginSet
) -> tuple[SiteRequest, ...]:
    """Return the sites that were asked for; the path of each may be a glob, whose matches share all the rest.

    Raises:
        EsperError: E401 if nothing matches, or no plugin knows the model; E202 for what is not a site.
    """
    root = getattr(model, "_orig_mod", model)
    if sites is None:
        known = plugins.adapt_host(root)
        if known is None:
            raise EsperError(
                "E401",
                f"no plugin knows where {type(root).__name__} can grow",
                why="sites were not given",
                fix='name submodules: grow(model, sites=["layer*"], ...)',
            )
        return known[0]
    asked: Sequence[Any] = [sites] if isinstance(sites, str | SiteRequest) else [*sites]
    found: dict[str, SiteRequest] = {}
    for item in asked:
        if not isinstance(item, str | SiteRequest):
            raise EsperError(
                "E202", 'the value of "sites" is not valid', why=f"expected names or SiteRequests, got {item!r}"
            )
        request = SiteRequest(path=item) if isinstance(item, str) else item
        for match in find_sites(root, [request.path]):
            found.setdefault(match.path, evolve(request, path=match.path))
    return tuple(found.values())
