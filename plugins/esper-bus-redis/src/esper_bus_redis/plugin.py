"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_oona.kinds import BusSpec

ESPER_API = "2.0"


@hookimpl
def esper_buses() -> Iterable[BusSpec]:
    """Offer one bus."""
    yield BusSpec(
        name="redis",
        summary="For processes of several machines, through a server of Redis or Valkey.",
        factory="esper_bus_redis.bus:RedisBus",
        config="esper_bus_redis.bus:RedisConfig",
        server="esper_bus_redis.server:RedisServer",
        schemes=("redis", "rediss", "redis+unix"),
    )
