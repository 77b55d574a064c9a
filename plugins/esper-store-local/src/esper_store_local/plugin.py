"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_urza.kinds import StoreSpec

ESPER_API = "2.0"


@hookimpl
def esper_stores() -> Iterable[StoreSpec]:
    """Offer one store."""
    yield StoreSpec(
        name="local",
        summary="A folder of this machine, or one that several machines share.",
        factory="esper_store_local.store:local_store",
        config="esper_store_local.store:LocalConfig",
        schemes=("local",),
    )
