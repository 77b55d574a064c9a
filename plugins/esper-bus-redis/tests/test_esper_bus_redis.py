"""What a server promises by its settings, and what happens when it dies."""

import pytest

from esper_bus_redis.bus import RedisBus, RedisConfig
from esper_bus_redis.durability import promised
from esper_bus_redis.server import RedisServer
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_oona.api import Outgoing, Survival, open_bus


@pytest.mark.parametrize(
    ("settings", "survival"),
    [
        ({"appendonly": "no", "appendfsync": "always"}, Survival.PROCESS),
        ({"appendonly": "yes", "appendfsync": "everysec"}, Survival.PROCESS),
        ({"appendonly": "yes", "appendfsync": "no"}, Survival.SERVER),
        ({"appendonly": "yes", "appendfsync": "always"}, Survival.POWER),
        ({}, Survival.PROCESS),
    ],
)
def test_the_promise_follows_from_the_settings(settings, survival):
    assert promised(settings) is survival


def test_a_server_that_is_not_there_is_named_and_the_breaker_opens(tmp_path):
    with pytest.raises(EsperError) as raised:
        RedisBus(RedisConfig(url=f"redis+unix://{tmp_path}/none.sock"))
    assert raised.value.code == "E611"


@pytest.mark.slow
class TestAServer:
    @pytest.fixture
    def server(self, tmp_path):
        server = RedisServer(tmp_path, appendfsync="no")
        server.start()
        yield server
        server.kill()

    def test_what_is_published_survives_its_death(self, server):
        bus = open_bus(f"{server.url}?survives=server", load_plugins().registry)
        bus.publish("normal", [Outgoing("k", b"1"), Outgoing("k", b"2")])
        how = {"limit": 1, "lease_seconds": 600.0, "attempts": 3}
        first = bus.receive("normal", "g", "c", **how)
        server.kill()
        with pytest.raises(EsperError) as raised:
            bus.acknowledge(first)
        assert raised.value.code == "E611"
        server.start()
        assert bus.acknowledge(first) == 1
        assert [it.body for it in bus.receive("normal", "g", "c", **how)] == [b"2"]
        bus.close()

    def test_the_breaker_opens_and_closes_again(self, server):
        bus = RedisBus(RedisConfig(url=server.url))
        assert bus.breaker == "closed"
        server.kill()
        for _ in range(4):
            with pytest.raises(EsperError):
                bus.backlogs()
        assert bus.breaker == "open"
        server.start()
        found = None
        while found is None:
            try:
                found = bus.backlogs()
            except EsperError:
                continue
        assert bus.breaker == "closed"

    def test_less_than_is_asked_for_is_refused(self, server):
        with pytest.raises(EsperError, match="survive power, the server promises server") as raised:
            open_bus(f"{server.url}?survives=power", load_plugins().registry)
        assert raised.value.code == "E614"
