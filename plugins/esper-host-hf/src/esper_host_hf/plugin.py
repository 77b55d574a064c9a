"""What this distribution offers: the host `hf`, and the sites of any model of `transformers`."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

if TYPE_CHECKING:
    from torch import nn

    from esper_core.api import SiteRequest

ESPER_API = "2.0"


@hookimpl
def esper_hosts() -> Iterator[HostSpec]:
    """Offer the host."""
    yield HostSpec(
        name="hf",
        summary="Any model of transformers, from a local directory or a config; one site after each block.",
        factory="esper_host_hf.host:build",
        config="esper_host_hf.config:HfConfig",
        layouts={Layout.BTD},
    )


@hookimpl
def esper_adapt_host(model: "nn.Module") -> "Iterable[SiteRequest] | None":
    """Return the sites of a `PreTrainedModel`; None for any other model, without importing anything."""
    bases = {(cls.__module__, cls.__name__) for cls in type(model).__mro__}
    if ("transformers.modeling_utils", "PreTrainedModel") not in bases:
        return None
    # Imported late: it needs torch and transformers, and every list of plugins imports this module.
    found: tuple[SiteRequest, ...] | None = import_module("esper_host_hf.adapting").adapt(model)
    return found
