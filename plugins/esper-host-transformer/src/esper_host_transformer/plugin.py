"""What this distribution offers: the host `transformer`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_hosts() -> Iterator[HostSpec]:
    """Offer the host."""
    yield HostSpec(
        name="transformer",
        summary="A pre-norm GPT; a site after each layer and, optionally, after each attention and MLP.",
        factory="esper_host_transformer.gpt:build",
        config="esper_host_transformer.config:TransformerConfig",
        layouts={Layout.BTD},
    )
