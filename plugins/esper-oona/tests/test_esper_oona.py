"""Publishers and subscribers over a bus in memory: routes, pressure, signatures, replays, retries, metrics."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest
from attrs import evolve

from esper_bus_memory.bus import MemoryConfig, memory_bus
from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_oona.api import (
    LARGEST_BYTES,
    LIFETIMES,
    ROUTES,
    Draft,
    Envelope,
    Keyring,
    MessagePriority,
    MessageType,
    Metrics,
    Outgoing,
    Pressure,
    Publisher,
    Replays,
    SharedFile,
    Signer,
    Stream,
    Subscriber,
    Subscription,
    TokenBucket,
    WhenFull,
    batch_limit,
    begin_journal,
)

OLD, NEW = ("old", b"o" * 32), ("new", b"n" * 32)
REPORT, COMMAND = MessageType.FIELD_REPORT, MessageType.ADAPTATION_COMMAND


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Setting:
    """One bus, one publisher, and subscribers that note what they handle."""

    def __init__(self, **options):
        self.clock = Clock()
        self.bus = memory_bus(MemoryConfig())
        self.signer = Signer(Keyring(dict([NEW, OLD])))
        self.publisher = Publisher(self.bus, self.signer, clock=self.clock, **options)
        self.handled = []

    def publish(self, *payloads, type=REPORT, **more):
        return self.publisher.publish([Draft(type=type, payload=it.encode(), **more) for it in payloads])

    def subscriber(
        self, handle=None, *, stream=Stream.NORMAL, replays=None, group="g", signer=None, types=MessageType, **how
    ):
        def note(envelope):
            if handle:
                handle(envelope)
            self.handled.append(envelope.payload.decode())

        return Subscriber(
            self.bus,
            stream,
            group,
            "c",
            dict.fromkeys(types, note),
            signer=signer or self.signer,
            replays=replays or Replays(None),
            subscription=Subscription(first_delay_seconds=0.0, **how),
            clock=self.clock,
        )

    def reasons(self):
        return [it.reason for it in self.bus.dead(100)]


@pytest.fixture
def it():
    return Setting()


class TestRoutes:
    @pytest.mark.parametrize("type", MessageType)
    def test_each_type_has_one(self, it, type):
        (found,) = it.publish("x", type=type).sent.values()
        assert found[0] is ROUTES[type]
        assert LIFETIMES[type] > 0

    def test_what_is_critical_takes_the_emergency_stream_as_long_as_there_are_tokens(self):
        clock = Clock()
        it = Setting(emergencies=TokenBucket(2, clock))
        critical = {"type": MessageType.TELEMETRY, "priority": MessagePriority.CRITICAL}
        streams = [stream for stream, _ in it.publish(*"abc", **critical).sent.values()]
        assert streams == [Stream.EMERGENCY, Stream.EMERGENCY, Stream.TELEMETRY]
        (found,) = it.publish("d", type=MessageType.EMERGENCY_SIGNAL).sent.values()
        assert found[0] is Stream.NORMAL
        assert it.publisher.metrics.value("emergencies_demoted") == 2
        clock.now += 30.0
        streams = [stream for stream, _ in it.publish(*"ef", **critical).sent.values()]
        assert streams == [Stream.EMERGENCY, Stream.TELEMETRY]

    def test_a_subscriber_leaves_types_that_it_has_no_handler_for(self, it):
        it.publish("a", type=MessageType.SYSTEM_STATE)
        it.publish("b")
        subscriber = it.subscriber()
        del subscriber._handlers[MessageType.SYSTEM_STATE]
        subscriber.poll()
        assert it.handled == ["b"]
        assert subscriber.metrics.value("skipped") == 1
        assert it.bus.backlogs()[0].depth == 0

    def test_what_is_too_large_or_to_live_too_long_is_refused(self, it):
        with pytest.raises(ValueError, match="bytes"):
            it.publisher.publish([Draft(type=REPORT, payload=bytes(LARGEST_BYTES + 1))])
        for seconds in (0.0, -1.0, float("nan"), LIFETIMES[COMMAND] + 1):
            with pytest.raises(ValueError, match="at most"):
                it.publish("x", type=COMMAND, lifetime_seconds=seconds)
        assert it.bus.backlogs() == []


class TestPressure:
    def setting(self, **policy):
        return Setting(pressure={Stream.NORMAL: Pressure(limit=5, sample_seconds=0.0, **policy)})

    def test_refuse(self):
        it = self.setting(when_full="refuse")
        it.publish(*"abcde")
        with pytest.raises(EsperError, match="5 messages are not finished, its limit is 5") as raised:
            it.publish("f")
        assert raised.value.code == "E613"
        it.subscriber().poll()
        it.publish("f")
        assert it.publisher.metrics.value("full.normal") == 1

    def test_drop(self):
        it = self.setting(when_full=WhenFull.DROP)
        it.publish(*"abcde")
        assert len(it.publish("f", "g").dropped) == 2
        assert it.publisher.metrics.value("dropped") == 2
        assert it.publisher.metrics.snapshot()["depth.normal"] == 5

    def test_wait(self):
        it = self.setting(when_full="wait", wait_seconds=20.0)
        it.publish(*"abcde")
        thread = threading.Thread(target=it.publish, args="f")
        thread.start()
        subscriber = it.subscriber()
        while thread.is_alive() or len(it.handled) < 6:
            subscriber.poll()
        thread.join()
        assert it.handled == [*"abcdef"]

    def test_wait_in_vain(self):
        it = self.setting(when_full="wait", wait_seconds=0.02)
        it.publish(*"abcde")
        with pytest.raises(EsperError) as raised:
            it.publish("f")
        assert raised.value.code == "E613"

    def test_emergencies_have_none(self):
        it = self.setting(when_full="refuse")
        it.publish(*"abcde")
        it.publish("f", priority=MessagePriority.CRITICAL)
        assert it.publisher.metrics.value("published.emergency") == 1

    def test_a_batch_larger_than_the_limit_is_let_in_when_nothing_else_waits(self):
        it = self.setting(when_full="refuse")
        assert len(it.publish(*"abcdefgh").sent) == 8


def changed(it, **fields):
    """Change the newest message on the bus, and publish it once more."""
    ((_, last),) = it.bus.tail("normal", 1)
    envelope = evolve(from_bytes(Envelope, last.body), **fields)
    it.bus.publish("normal", [Outgoing(fields.get("key", last.key), to_bytes(envelope))])


class TestSecurity:
    def test_what_is_genuine_is_handled(self, it):
        it.publish("a")
        it.subscriber().poll()
        assert it.handled == ["a"]

    @pytest.mark.parametrize(
        ("fields", "refusal"),
        [
            ({"payload": b"b"}, "forged"),
            ({"key": "other"}, "forged"),
            ({"id": "other"}, "forged"),
            ({"type": COMMAND}, "forged"),
            ({"expires_at": None}, "forged"),
            ({"signature": bytes(32)}, "forged"),
            ({"signature": None}, "unsigned"),
            ({"key_id": None}, "unsigned"),
            ({"key_id": "k"}, "unknown-key"),
            ({}, "replayed"),
        ],
    )
    def test_what_is_not_is_refused_counted_and_visible(self, it, fields, refusal):
        it.publish("a")
        changed(it, **fields)
        subscriber = it.subscriber()
        subscriber.poll()
        assert it.handled == ["a"]
        assert it.reasons() == [f"refused: {refusal}"]
        assert subscriber.metrics.value(f"refused.{refusal}") == 1

    def test_the_bus_cannot_move_a_message_to_another_key(self, it):
        it.publish("a", key="k")
        ((_, last),) = it.bus.tail("normal", 1)
        it.bus.publish("normal", [Outgoing("other", last.body)])
        it.subscriber().poll()
        assert (it.handled, it.reasons()) == (["a"], ["refused: forged"])

    def test_what_is_no_envelope_is_refused(self, it):
        it.bus.publish("normal", [Outgoing("", b"\xff\xff"), Outgoing("", b"")])
        it.subscriber().poll()
        assert it.reasons() == ["refused: unreadable"] * 2

    def test_unsigned_messages_are_handled_only_where_that_is_asked_for(self):
        it = Setting()
        it.publisher = Publisher(it.bus, Signer(None), clock=it.clock)
        it.publish("a")
        it.subscriber().poll()
        assert it.handled == []
        it.publish("b")
        it.subscriber(signer=Signer(None)).poll()
        assert it.handled == ["b"]

    def test_an_old_key_still_verifies_and_a_removed_one_does_not(self, it):
        it.publisher = Publisher(it.bus, Signer(Keyring(dict([OLD]))), clock=it.clock)
        it.publish("a")
        it.subscriber().poll()
        it.publish("b")
        it.subscriber(signer=Signer(Keyring(dict([NEW])))).poll()
        assert (it.handled, it.reasons()) == (["a"], ["refused: unknown-key"])

    def test_freshness(self, it):
        it.publish("stale", type=COMMAND, lifetime_seconds=10.0)
        it.clock.now += 10.0 + 31.0
        it.publish("late", type=COMMAND, lifetime_seconds=10.0)
        it.clock.now += 10.0 + 29.0
        it.subscriber().poll()
        assert (it.handled, it.reasons()) == (["late"], ["refused: stale"])

    def test_without_an_expiry_a_message_lives_as_long_as_its_type(self, it):
        made = it.publisher._envelope(Draft(type=COMMAND, payload=b"a"))
        signed = it.signer.sign(evolve(made, expires_at=None))
        it.bus.publish("normal", [Outgoing("", to_bytes(signed))])
        it.clock.now += LIFETIMES[COMMAND] + 31.0
        it.subscriber().poll()
        assert (it.handled, it.reasons()) == ([], ["refused: stale"])

    def test_what_the_group_does_not_read_is_left_however_old_it_is_but_not_if_it_is_forged(self, it):
        it.publish("old", type=COMMAND)
        it.clock.now += LIFETIMES[COMMAND] + 31.0
        it.publish("new")
        it.bus.publish("normal", [Outgoing("another-key", it.bus.tail("normal", 2)[0][1].body)])
        subscriber = it.subscriber(types=[REPORT])
        subscriber.poll()
        assert (it.handled, it.reasons()) == (["new"], ["refused: forged"])
        assert subscriber.metrics.value("skipped") == 1

    @pytest.mark.parametrize(("ahead", "refused"), [(29.0, []), (31.0, ["refused: from-the-future"])])
    def test_clocks_that_are_ahead(self, it, ahead, refused):
        it.clock.now += ahead
        it.publish("a")
        it.clock.now -= ahead
        it.subscriber().poll()
        assert it.reasons() == refused
        assert len(it.handled) == 1 - len(refused)


class TestReplays:
    def test_survive_a_restart(self, it, tmp_path):
        it.publish("a")
        it.subscriber(replays=Replays(tmp_path / "replays")).poll()
        changed(it)
        it.subscriber(replays=Replays(tmp_path / "replays")).poll()
        assert (it.handled, it.reasons()) == (["a"], ["refused: replayed"])
        assert (tmp_path / "replays").stat().st_mode & 0o777 == 0o600

    def test_the_same_message_again_is_none(self, it, tmp_path):
        it.publish("a")
        replays = Replays(tmp_path / "replays")

        def die(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            it.subscriber(die, replays=replays, lease_seconds=0.01).poll()
        subscriber = it.subscriber(replays=replays)
        while not subscriber.poll():
            pass
        assert (it.handled, it.reasons()) == (["a"], [])

    def test_each_group_handles_a_message(self, it):
        replays = Replays(None)
        it.publish("a")
        for group in "gh":
            it.subscriber(replays=replays, group=group).poll()
        assert it.handled == ["a", "a"]

    def test_a_message_that_is_published_again_is_handled_once(self, it):
        draft = Draft(type=REPORT, payload=b"a", id="one")
        it.publisher.publish([draft])
        it.publisher.publish([draft])
        it.subscriber().poll()
        assert it.handled == ["a"]

    def test_a_copy_on_another_stream_is_one(self, it):
        it.publish("a")
        ((_, last),) = it.bus.tail("normal", 1)
        it.bus.publish("policy", [last])
        replays = Replays(None)
        it.subscriber(replays=replays).poll()
        it.subscriber(replays=replays, stream="policy").poll()
        assert (it.handled, it.reasons()) == (["a"], ["refused: replayed"])

    def test_what_has_expired_is_forgotten(self, it, tmp_path):
        replays = Replays(tmp_path / "replays")
        it.publish("a", type=COMMAND)
        it.subscriber(replays=replays).poll()
        it.clock.now += LIFETIMES[COMMAND] + 100.0
        it.publish("b", type=COMMAND)
        it.subscriber(replays=replays).poll()
        assert replays._file.rows("SELECT COUNT(*) FROM accepted") == [(1,)]

    def test_what_cannot_be_remembered_is_not_handled_and_comes_again(self, it, tmp_path):
        replays = Replays(tmp_path / "replays")
        subscriber = it.subscriber(replays=replays, lease_seconds=0.01)
        it.publish("a")
        replays._file.connection.execute("PRAGMA query_only = ON")  # as on a full disk
        with pytest.raises(EsperError, match="E611"):
            subscriber.poll()
        assert it.handled == []
        replays._file.connection.execute("PRAGMA query_only = OFF")
        while not subscriber.poll():
            pass
        assert (it.handled, it.reasons()) == (["a"], [])

    @pytest.mark.parametrize("spoil", [lambda it: it.write_text("no database " * 99), lambda it: it.mkdir()])
    def test_a_file_that_cannot_be_used_is_named(self, tmp_path, spoil):
        spoil(tmp_path / "replays")
        with pytest.raises(EsperError, match="E611") as refused:
            Replays(tmp_path / "replays")
        assert refused.value.where == str(tmp_path / "replays")


class TestFailures:
    def test_a_poisoned_message_is_tried_exactly_as_often_and_others_of_its_key_follow(self, it):
        tried = []

        def handle(envelope):
            if envelope.payload == b"poison":
                tried.append(envelope.attempt)
                raise ValueError("cannot be")

        it.publish("a", "poison", "b", "c", key="k")
        it.publish("other", key="m")
        subscriber = it.subscriber(handle, attempts=3)
        subscriber.poll()
        assert it.handled == ["a", "other"]
        while subscriber.poll():
            pass
        assert tried == [0, 1, 2]
        assert it.handled == ["a", "other", "b", "c"]
        assert it.reasons() == ["ValueError: cannot be"]
        seen = subscriber.metrics.snapshot()
        assert (seen["failed"], seen["retried"], seen["dead"], seen["handled"]) == (3, 2, 1, 4)

    def test_others_of_the_batch_do_not_wait_for_one_that_failed(self, it, monkeypatch):
        steps = []

        def handle(envelope):
            steps.append(envelope.payload.decode())
            if envelope.payload == b"poison":
                raise ValueError("cannot be")

        for name in ("acknowledge", "retry", "renew"):
            call = getattr(it.bus, name)
            monkeypatch.setattr(it.bus, name, lambda *a, name=name, call=call, **k: steps.append(name) or call(*a, **k))
        it.publish("poison", "behind", key="k")
        it.publish("other", key="m")
        it.subscriber(handle).poll()
        assert steps == ["poison", "other", "acknowledge", "retry", "retry"]

    def test_what_failed_keeps_its_lease_until_it_is_given_back(self, it, monkeypatch):
        time, returned, retry = Clock(), [], it.bus.retry
        monkeypatch.setattr("esper_oona.subscriber.time.monotonic", time)
        renewed = []
        monkeypatch.setattr(it.bus, "renew", lambda some, **_: renewed.append([at.position for at in some]) or some)
        monkeypatch.setattr(it.bus, "retry", lambda *a, **k: returned.append(retry(*a, **k)) or returned[-1])

        def work(envelope):
            time.now += 6.0
            if envelope.payload == b"a":
                raise ValueError("cannot be")

        it.publish("a", "b", key="k")
        it.publish("c", "d")
        it.subscriber(work, lease_seconds=10.0).poll()
        assert (renewed, returned) == ([[2, 3, 4, 1], [4, 1, 2]], [True, True])

    def test_an_acknowledgement_comes_after_the_handling(self, it):
        depths = []
        it.publish("a")
        it.subscriber(lambda _: depths.append(it.bus.backlogs()[0].depth)).poll()
        assert depths == [1]
        assert it.bus.backlogs()[0].depth == 0

    @pytest.mark.parametrize(
        ("attempts", "batches"), [(5, [100, 25, 6, 1, 1]), (3, [100, 25, 1]), (2, [100, 1]), (1, [100])]
    )
    def test_batches_shrink_with_each_attempt(self, attempts, batches):
        assert [batch_limit(100, attempt, attempts) for attempt in range(attempts)] == batches
        assert batch_limit(3, 1, 5) == 1

    def test_the_delay_doubles_up_to_a_limit(self):
        how = Subscription(first_delay_seconds=0.1, longest_delay_seconds=1.0)
        assert [how.delay_seconds(attempt) for attempt in (1, 2, 3, 4, 5, 500)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    def test_leases_are_renewed_between_two_messages(self, it, monkeypatch):
        time = Clock()
        monkeypatch.setattr("esper_oona.subscriber.time.monotonic", time)
        renewed = []
        monkeypatch.setattr(it.bus, "renew", lambda deliveries, **_: renewed.append(len(deliveries)) or deliveries[1:])

        def work(_):
            time.now += 6.0

        it.publish(*"abcd")
        subscriber = it.subscriber(work, lease_seconds=10.0)
        subscriber.poll()
        # `b` was lost to somebody else when the leases were renewed after `a`, and `d` after `c`.
        assert (renewed, it.handled) == ([3, 1], ["a", "c"])
        assert subscriber.metrics.value("leases_lost") == 2

    def test_a_bus_that_does_not_answer_is_asked_again(self, it, monkeypatch):
        stop, receive = threading.Event(), it.bus.receive
        answers = [EsperError("E611", "no"), EsperError("E611", "no")]

        def fails(*args, **how):
            if answers:
                raise answers.pop()
            return receive(*args, **how)

        monkeypatch.setattr(it.bus, "receive", fails)
        it.publish("a")
        subscriber = it.subscriber(lambda _: stop.set(), idle_seconds=0.001)
        subscriber.run(stop)
        assert it.handled == ["a"]
        assert subscriber.metrics.value("receive_errors") == 2


def test_ids_begin_with_the_time():
    ids = [Draft(type=REPORT, payload=b"").id for _ in range(100)]
    assert len({*ids}) == 100
    assert {(it.version, it.variant) for it in map(UUID, ids)} == {(7, RFC_4122)}
    times = [int(it[:12], 16) for it in ids]
    assert times == sorted(times)
    assert abs(times[0] / 1000 - datetime.now(UTC).timestamp()) < 3600.0


def test_a_signed_envelope_is_the_same_but_for_the_signature():
    envelope = Envelope(
        id="1",
        type=REPORT,
        schema_version=3,
        issued_at=datetime(2026, 3, 1, tzinfo=UTC),
        expires_at=datetime(2026, 3, 2, tzinfo=UTC),
        priority=MessagePriority.HIGH,
        attempt=2,
        key="k",
        producer="p",
        payload=b"x",
    )
    signed = Signer(Keyring(dict([NEW, OLD]))).sign(envelope)
    assert signed.signature
    assert evolve(signed, key_id=None, signature=None) == envelope
    other = Signer(Keyring(dict([OLD]))).sign(envelope)
    assert (signed.key_id, other.key_id) == ("new", "old")
    assert other.signature != signed.signature


def test_histograms_tell_quantiles():
    metrics = Metrics()
    assert metrics.quantile("x_seconds", 0.5) is None
    metrics.time_all("x_seconds", [0.003] * 99)
    metrics.time("x_seconds", 100.0)
    assert metrics.quantile("x_seconds", 0.99) == 0.005
    assert metrics.quantile("x_seconds", 1.0) == float("inf")
    assert metrics.snapshot()["x_seconds"]["p50"] == 0.005


class TestFigures:
    def test_of_what_was_done(self, it):
        it.publish(*"ab")
        subscriber = it.subscriber(lambda envelope: 1 / (envelope.payload != b"b"), attempts=1)
        subscriber.poll()
        changed(it)
        subscriber.poll()
        sent, seen = it.publisher.metrics.figures(), subscriber.metrics.figures()
        assert (sent.breaker, sent.degraded, sent.counts["published"]) == ("closed", False, 2)
        assert (seen.counts["handled"], seen.counts["dead"], seen.counts["refused.replayed"]) == (1, 1, 1)
        numbers = sent.numbers()
        assert numbers["publish_seconds.count"] == numbers["publish_seconds.le_10"] == 1.0
        assert numbers["published"] == 2.0
        assert all(isinstance(value, float | int) for value in numbers.values())
        assert seen.latencies["handling_seconds"].p99 <= 10.0

    def test_a_take_over_is_told_from_another_attempt(self, it):
        it.publish(*"ab")

        def die(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            it.subscriber(die, lease_seconds=0.01, batch=1).poll()
        failed = []
        subscriber = it.subscriber(lambda _: failed.append(1) or 1 / (len(failed) > 1))
        while len(it.handled) < 2:
            subscriber.poll()
        figures = subscriber.metrics.figures()
        assert (figures.counts["taken_over"], figures.counts["retried"]) == (1, 1)

    @pytest.mark.parametrize("state", ["open", "half-open"])
    def test_a_bus_that_is_hardly_asked_is_degraded(self, it, monkeypatch, state):
        monkeypatch.setattr(type(it.bus), "breaker", state)
        it.publish("a")
        found = it.publisher.metrics.figures()
        assert (found.breaker, found.degraded, found.numbers()["degraded"]) == (state, True, 1.0)
        monkeypatch.undo()
        it.publish("b")
        assert not it.publisher.metrics.figures().degraded


class TestBeginJournal:
    """Of several processes that begin a file at once, SQLite has none wait, whatever its timeout: so none is set."""

    @pytest.fixture
    def holder(self, tmp_path):
        with closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None, check_same_thread=False)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            yield holder

    @pytest.fixture
    def connection(self, tmp_path, holder):
        with closing(sqlite3.connect(tmp_path / "a.sqlite", timeout=0, isolation_level=None)) as connection:
            yield connection

    def test_it_waits_until_the_file_is_free(self, holder, connection):
        threading.Timer(0.1, holder.rollback).start()
        assert begin_journal(connection) == "wal"

    def test_it_does_not_wait_for_ever(self, connection):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            begin_journal(connection, wait_seconds=0.05)


class TestSharedFile:
    def unusable(self, why):
        return EsperError("E611", "it cannot be used", why=why)

    def open(self, path, **settings):
        return SharedFile(path, self.unusable, ["CREATE TABLE IF NOT EXISTS t (a TEXT NOT NULL)"], **settings)

    def test_a_transaction_is_kept_whole_or_not_at_all(self, tmp_path):
        file = self.open(tmp_path / "a.sqlite")
        with pytest.raises(EsperError, match="NOT NULL"), file.transaction() as sql:
            sql.executemany("INSERT INTO t VALUES (?)", [("lost",), (None,)])
        with file.transaction() as sql:
            sql.execute("INSERT INTO t VALUES ('kept')")
        file.close()
        assert self.open(tmp_path / "a.sqlite").rows("SELECT a FROM t") == [("kept",)]
        assert (tmp_path / "a.sqlite").stat().st_mode & 0o777 == 0o600

    def test_a_file_of_another_format_is_refused_and_let_go(self, tmp_path):
        self.open(tmp_path / "a.sqlite", version=1).close()
        with pytest.raises(EsperError, match="its format is 1, and this Esper reads 2"):
            self.open(tmp_path / "a.sqlite", version=2)
        with closing(sqlite3.connect(tmp_path / "a.sqlite", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")

    @pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
    def test_a_damaged_file_is_refused_at_once(self, tmp_path, content):
        (tmp_path / "a.sqlite").write_bytes(content)
        with pytest.raises(EsperError, match="E611"):
            self.open(tmp_path / "a.sqlite")
