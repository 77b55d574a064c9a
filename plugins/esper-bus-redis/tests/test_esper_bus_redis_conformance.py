"""bus-redis against the conformance suite, on a real server; it is in CI what is on the path, else Valkey of PyPI."""

import pytest

from esper_bus_redis.bus import RedisConfig
from esper_bus_redis.server import RedisServer
from esper_oona.testing.bus_suite import BusSuite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


class TestRedis(BusSuite):
    plugin = "esper-bus-redis"

    @pytest.fixture
    def config(self, server):
        return RedisConfig(url=server.url)
