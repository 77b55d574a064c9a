"""What this distribution offers: the host `mlp`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_hosts() -> Iterator[HostSpec]:
    """Offer the host."""
    yield HostSpec(
        name="mlp",
        summary="Blocks of a linear layer and ReLU, for vectors; one site after each block.",
        factory="esper_host_mlp.perceptron:build",
        config="esper_host_mlp.config:MlpHostConfig",
        layouts={Layout.BD},
    )
