"""What this distribution offers: the host `cnn`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_hosts() -> Iterator[HostSpec]:
    """Offer the host."""
    yield HostSpec(
        name="cnn",
        summary="Blocks of 3x3 convolution, normalisation, ReLU and pooling; one site after each block.",
        factory="esper_host_cnn.cnn:build",
        config="esper_host_cnn.config:CnnConfig",
        layouts={Layout.NCHW},
    )
