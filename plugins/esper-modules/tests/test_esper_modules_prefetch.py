"""Requests and answers on a bus: which are taken, which are dropped, and what a worker that was killed leaves."""

from datetime import UTC, datetime

import pytest
from attrs import evolve

from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.api import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_leyline_proto.kernels import KernelPrefetchError, KernelPrefetchReady, KernelPrefetchRequest
from esper_leyline_proto.messages import content
from esper_modules.api import Prefetcher, guard_digest, order_of, request_of
from esper_modules.waiting import WaitingRequests
from esper_oona.api import Draft, Keyring, Publisher, Signer
from esper_tezzeret.api import Order

KEYS = Keyring({"k": b"s" * 32})
ORDER = Order(blueprint="d/b", options={"kernel": 3}, layout="NCHW", shape=(4, 5, 6), compilers=("export",))


@pytest.fixture
def bus(tmp_path):
    found = sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite"))
    yield found
    found.close()


@pytest.fixture
def prefetcher(bus):
    return Prefetcher(lambda: bus, Signer(KEYS), name="run")


def ready(request_id, **changes):
    usual = {
        "blueprint": "d/b",
        "artifact_ref": "a" * 64,
        "artifact_version": "export 0.1",
        "checksum": "c" * 64,
        "guard_digest": guard_digest(ORDER),
        "issued_at": datetime.now(UTC),
    }
    return KernelPrefetchReady(request_id=request_id, **usual | changes)


def refused(request_id):
    now = datetime.now(UTC)
    return KernelPrefetchError(request_id=request_id, blueprint="d/b", code="E626", reason="it broke", issued_at=now)


def publish(bus, record, keys=KEYS):
    type_ = {
        KernelPrefetchReady: MessageType.KERNEL_PREFETCH_READY,
        KernelPrefetchError: MessageType.KERNEL_PREFETCH_ERROR,
    }[type(record)]
    Publisher(bus, Signer(keys)).publish([Draft(type=type_, payload=to_bytes(record))])


def test_a_request_says_what_the_artifact_is_for(bus, prefetcher):
    request_id = prefetcher.ask(ORDER, 5.0)
    ((_, message),) = bus.tail("kernel-requests", 10)
    request = content(from_bytes(Envelope, message.body))
    assert (request.request_id, request.run) == (request_id, "run")
    assert order_of(request) == ORDER


@pytest.mark.parametrize("field", ["layout", "causal", "dtype"])
def test_a_request_that_does_not_say_it_is_refused(field):
    request = evolve(request_of(ORDER, "r", timeout=1.0), **{field: None})
    with pytest.raises(EsperError) as caught:
        order_of(request)
    assert caught.value.code == "E625"


@pytest.mark.parametrize("change", [{"shape": (4, 5, 7)}, {"dtype": "float64"}, {"causal": True}])
def test_another_activation_has_another_guard(change):
    assert guard_digest(evolve(ORDER, **change)) != guard_digest(ORDER)


class TestAnswers:
    def test_the_answer_to_the_request_is_taken(self, bus, prefetcher):
        request_id = prefetcher.ask(ORDER, 60.0)
        publish(bus, ready("somebody-else"))
        publish(bus, ready(request_id, prewarm_p50_ms=1.0))
        assert prefetcher.wait(request_id).prewarm_p50_ms == 1.0
        assert prefetcher.dropped([request_id]) == []

    def test_it_is_found_among_many_for_others_that_came_later(self, bus, prefetcher):
        for _ in range(3):
            publish(bus, ready("somebody-else"))
        request_id = prefetcher.ask(ORDER, 60.0)
        publish(bus, ready(request_id))
        for _ in range(150):
            publish(bus, ready("somebody-else"))
        assert prefetcher.poll(request_id).request_id == request_id

    def test_an_error_is_the_reason(self, bus, prefetcher):
        request_id = prefetcher.ask(ORDER, 60.0)
        publish(bus, refused(request_id))
        with pytest.raises(EsperError, match="not delivered") as caught:
            prefetcher.wait(request_id)
        assert (caught.value.code, caught.value.why) == ("E631", "E626: it broke")

    def test_one_that_somebody_else_has_signed_is_none(self, bus, prefetcher):
        request_id = prefetcher.ask(ORDER, 0.1)
        publish(bus, ready(request_id), Keyring({"k": b"t" * 32}))
        with pytest.raises(EsperError) as caught:
            prefetcher.wait(request_id)
        assert caught.value.why == "there was no answer in time"

    def test_a_second_one_is_a_duplicate_once(self, bus, prefetcher):
        request_id = prefetcher.ask(ORDER, 60.0)
        publish(bus, ready(request_id))
        prefetcher.wait(request_id)
        publish(bus, refused(request_id))
        assert prefetcher.dropped(["another"]) == []
        assert prefetcher.dropped([request_id]) == [(request_id, "duplicate")]
        assert prefetcher.dropped([request_id]) == []

    def test_one_after_the_end_is_late_and_ends_the_silence(self, bus, prefetcher):
        request_id = prefetcher.ask(ORDER, 0.01)
        with pytest.raises(EsperError):
            prefetcher.wait(request_id)
        assert prefetcher.silent
        publish(bus, ready(request_id))
        assert prefetcher.dropped([request_id]) == [(request_id, "late")]
        assert not prefetcher.silent

    def test_after_silence_the_next_ones_wait_less(self, bus, prefetcher):
        with pytest.raises(EsperError):
            prefetcher.wait(prefetcher.ask(ORDER, 0.01))
        prefetcher.ask(ORDER, 600.0)
        _, message = bus.tail("kernel-requests", 1)[0]
        request = content(from_bytes(Envelope, message.body))
        assert (request.expires_at - request.issued_at).total_seconds() == 1.0


class TestWaitingRequests:
    def test_they_outlive_the_worker(self, tmp_path):
        request = request_of(ORDER, "r-1", timeout=60.0)
        WaitingRequests(tmp_path).add(request)
        (found,) = WaitingRequests(tmp_path)
        assert found == request
        WaitingRequests(tmp_path).remove(found)
        assert [*WaitingRequests(tmp_path)] == []

    @pytest.mark.parametrize("name", ["../keys", "a/b", "", ".hidden", "x" * 65])
    def test_no_id_leaves_the_folder(self, tmp_path, name):
        now = datetime.now(UTC)
        with pytest.raises(EsperError) as caught:
            WaitingRequests(tmp_path).add(KernelPrefetchRequest(request_id=name, blueprint="b", issued_at=now))
        assert caught.value.code == "E602"
        assert [*(tmp_path / "prefetch").iterdir()] == []
