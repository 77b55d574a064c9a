"""From what a user calls sites to requests that can be confirmed."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import evolve
from torch import nn

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.sites import SiteRequest
from esper_core.plugins.plugin_set import PluginSet


def site_requests(
    model: nn.Module, sites: str | SiteRequest | Iterable[str | SiteRequest] | None, plugins: PluginSet
) -> tuple[SiteRequest, ...]:
    """Return the sites that were asked for; the path of each may be a glob, whose matches share all the rest.

    Raises:
        EsperError: E401 if nothing matches, or no plugin knows the model; E202 for what is not a site; E402 for a model
            without values.
    """
    root = getattr(model, "_orig_mod", model)
    _refuse_without_values(root)
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


def _refuse_without_values(model: nn.Module) -> None:
    if name := next((name for name, p in model.named_parameters() if p.is_meta), ""):
        raise EsperError(
            "E402",
            f"{type(model).__name__} has no values yet",
            where=name,
            why="it is on the meta device",
            fix="load or initialise its weights first: model.to_empty(device=...)",
        )


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
