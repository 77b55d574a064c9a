"""What this distribution offers: the host `grown`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_hosts() -> Iterator[HostSpec]:
    """Offer the host."""
    yield HostSpec(
        name="grown",
        summary="The topology that a run has grown, with new weights; nothing more grows in it.",
        factory="esper_host_grown.network:build",
        config="esper_host_grown.config:GrownConfig",
        layouts={Layout.NCHW, Layout.BTD, Layout.BD},
    )
