"""bus-redis against the conformance suite, on the real servers of both families."""

import os
import shutil

import pytest

from esper_bus_redis.bus import RedisConfig
from esper_bus_redis.server import RedisServer, valkey_of_the_wheel
from esper_oona.testing.bus_suite import BusSuite

pytestmark = pytest.mark.slow


def redis_of_debian():
    """Debian's server; where tests must not be left out, a missing one is an error."""
    found = shutil.which("redis-server")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("apt-get install redis-server")
    return found


@pytest.fixture(scope="module", params=[redis_of_debian, valkey_of_the_wheel], ids=["redis", "valkey"])
def server(request, tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"), program=request.param())
    server.start()
    yield server
    server.kill()


class TestRedis(BusSuite):
    plugin = "esper-bus-redis"

    @pytest.fixture
    def config(self, server):
        return RedisConfig(url=server.url)
