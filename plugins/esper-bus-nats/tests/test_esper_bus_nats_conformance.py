"""bus-nats against the conformance suite, on a real server."""

import pytest

from esper_bus_nats.config import NatsConfig
from esper_bus_nats.server import NatsServer
from esper_oona.testing.bus_suite import BusSuite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


class TestNats(BusSuite):
    plugin = "esper-bus-nats"

    @pytest.fixture
    def config(self, server):
        return NatsConfig(url=server.url)
