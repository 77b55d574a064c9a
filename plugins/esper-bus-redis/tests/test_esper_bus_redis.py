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


@pytest.mark.parametrize("url", ["redis://:secret@host", "rediss://me:secret@host:1/0"])
def test_an_address_holds_no_password(url):
    with pytest.raises(EsperError, match="no place for a password") as raised:
        RedisBus(RedisConfig(url=url))
    assert raised.value.code == "E202"
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis:", "redis://host:abc", "redis://[::1"])
def test_an_address_that_names_no_server_comes_with_the_fix(url):
    with pytest.raises(EsperError, match="such as redis://localhost:6379/0") as raised:
        RedisBus(RedisConfig(url=url))
    assert raised.value.code == "E202"


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

    def test_a_password_comes_from_the_environment_or_a_file(self, tmp_path, monkeypatch):
        server = RedisServer(tmp_path, password="sesame")
        server.start()
        file = tmp_path / "password"
        file.touch(mode=0o600)
        file.write_text("sesame\n")
        try:
            with pytest.raises(EsperError, match=r"(?i)auth"):
                RedisBus(RedisConfig(url=server.url))
            RedisBus(RedisConfig(url=server.url, secret_file=str(file))).close()
            monkeypatch.setenv("ESPER_REDIS_PASSWORD", "sesame")
            RedisBus(RedisConfig(url=server.url)).close()
            file.chmod(0o644)
            with pytest.raises(EsperError, match="others can read"):
                RedisBus(RedisConfig(url=server.url, secret_file=str(file)))
        finally:
            server.kill()
