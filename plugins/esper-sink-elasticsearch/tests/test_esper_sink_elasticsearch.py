import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import ApiError, Elasticsearch

from esper_core.api import EsperError, Event, EventKind
from esper_sink_elasticsearch.bulk import Bulk, Entry, NotStoredError
from esper_sink_elasticsearch.config import ElasticsearchConfig
from esper_sink_elasticsearch.sink import ElasticsearchSink

Opened = Callable[..., ElasticsearchSink]


@pytest.fixture
def opened(faults: Any) -> Iterator[Opened]:
    sinks: list[ElasticsearchSink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **options: Any) -> ElasticsearchSink:
        sink = ElasticsearchSink(ElasticsearchConfig(**{"url": faults.url, **options}))
        sinks.append(sink)
        manifest = {"name": name, "started": "2026-01-01T00:00:00+00:00", "config": {"epochs": 10}}
        sink.open(manifest | ({} if resumed_at is None else {"resumed_at": resumed_at}))
        return sink

    yield make
    for sink in sinks:
        sink.close()


def notices(*numbers: int) -> list[Event]:
    return [Event(kind=EventKind.NOTICE, data={"message": f"n{it}"}, sequence=it, time=float(it)) for it in numbers]


def epoch(sequence: int = 0, loss: float = 0.5) -> Event:
    seeds = [{"slot": "block0", "stage": "BLENDING", "alpha": 0.25}]
    data = {"validation": {"loss": loss, "accuracy": 0.75}, "seeds": seeds}
    return Event(kind=EventKind.EPOCH_COMPLETED, host="grown", epoch=3, data=data, sequence=sequence, time=1.5)


def numbers(faults: Any) -> list[int]:
    return [it["sequence"] for it in faults.stored()]


def test_every_event_is_a_document_with_its_numbers_and_words(opened: Opened, faults: Any) -> None:
    sink = opened()
    move = {"slot": "block0", "seed_id": "block0-0", "blueprint": "noop", "source": "TRAINING", "target": "CULLED"}
    data = move | {"cause": "timeout", "reason": "it took too long", "gates": []}
    sink.emit([epoch(0), Event(kind=EventKind.SEED_TRANSITION, host="grown", data=data, sequence=1)])
    first, second = faults.stored()
    assert (first["run"], first["kind"], first["host"], first["epoch"]) == ("digits-1", "epoch_completed", "grown", 3)
    assert first["@timestamp"] == 1500
    points = {it["name"]: (it["host"], it["step"], it["value"]) for it in first["points"]}
    assert points["validation/loss"] == ("grown", 3, 0.5)
    assert points["slots/block0/alpha"] == ("grown", 3, 0.25)
    assert second["data"] == data
    assert (second["slot"], second["target"], second["cause"]) == ("block0", "CULLED", "timeout")
    assert "it took too long" in second["text"]
    assert "block0" in second["summary"]


def test_the_index_has_a_template_with_a_mapping_that_no_payload_can_grow(opened: Opened, faults: Any) -> None:
    opened()
    found = faults.templates["esper-events"]
    mappings = found["template"]["mappings"]
    assert found["index_patterns"] == ["esper-events"]
    assert mappings["dynamic"] is False
    assert mappings["properties"]["data"] == {"type": "object", "enabled": False}
    assert mappings["properties"]["kind"]["type"] == "keyword"


@pytest.mark.parametrize("fault", [429, 503, "partial", "lost", "page"])
def test_a_batch_is_stored_once_though_the_server_fails(opened: Opened, faults: Any, fault: int | str) -> None:
    sink = opened()
    faults.faults = [fault, fault]
    sink.emit(notices(*range(9)))
    assert sorted(numbers(faults)) == [*range(9)]
    assert faults.bulks >= 2


def test_a_request_that_hangs_is_given_up_and_made_again(opened: Opened, faults: Any) -> None:
    sink = opened(request_timeout=2.0)
    faults.faults = ["hang"]
    sink.emit(notices(0, 1))
    assert numbers(faults) == [0, 1]
    assert faults.bulks >= 2


def test_a_document_that_is_refused_is_told_and_not_sent_again(opened: Opened, faults: Any) -> None:
    sink = opened()
    faults.faults = ["refuse"]
    with pytest.raises(NotStoredError, match="1 events are refused: 400: no date"):
        sink.emit(notices(0, 1, 2))
    assert numbers(faults) == [1, 2]
    assert faults.bulks == 1


def test_a_server_that_stays_busy_is_given_up_after_a_bounded_time(opened: Opened, faults: Any) -> None:
    sink = opened(patience=0.5)
    faults.faults = ["partial"] * 100
    with pytest.raises(NotStoredError, match="busy"):
        sink.emit(notices(*range(40)))
    assert len(faults.faults) > 80  # it was not asked until it had time again
    faults.faults = []
    sink.emit(notices(50))
    assert 50 in numbers(faults)


def test_the_waits_grow_and_end_with_the_patience(faults: Any) -> None:
    waits: list[float] = []
    clock = [0.0]

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    faults.faults = [429] * 1000
    with Elasticsearch(faults.url, max_retries=0) as client:
        bulk = Bulk(client, "esper-events", 15.0, wait=wait, now=lambda: clock[0])
        with pytest.raises(NotStoredError):
            bulk.store([Entry("a", b"{}")])
    assert 5 <= len(waits) <= 12
    assert sum(waits) <= 15
    assert waits[4] > 4 * waits[0]
    assert max(waits) <= 5


def test_a_large_batch_goes_in_several_requests(faults: Any) -> None:
    with Elasticsearch(faults.url, max_retries=0) as client:
        bulk = Bulk(client, "esper-events", 1.0)
        bulk.store([Entry(str(it), json.dumps({"sequence": it}).encode()) for it in range(1201)])
        assert faults.bulks == 3
        bulk.store(
            [Entry(f"large{it}", json.dumps({"sequence": it, "x": "x" * 1_500_000}).encode()) for it in range(4)]
        )
        assert faults.bulks == 5
    assert len(faults.stored()) == 1205


def test_a_resumed_run_holds_each_event_once_and_leaves_other_runs_alone(opened: Opened, faults: Any) -> None:
    other, sink = opened("other"), opened()
    other.emit(notices(*range(10)))
    sink.emit(notices(*range(10)))
    opened(resumed_at=6).emit(notices(6, 7))
    assert [it["sequence"] for it in faults.stored() if it["run"] == "digits-1"] == [*range(8)]
    assert [it["sequence"] for it in faults.stored() if it["run"] == "other"] == [*range(10)]


def test_strange_text_and_figures_are_strict_json(opened: Opened, faults: Any) -> None:
    strange = "\udc80 \x00 \u2028"
    sink = opened(strange)
    data = {"message": strange, "": 1, strange: [nan, inf, -inf, None], "validation": {"loss": nan}}
    sink.emit([Event(kind=EventKind.NOTICE, host=strange, data=data, sequence=0), epoch(1, nan)])
    first, second = faults.stored()
    assert first["data"]["_"] == 1
    assert "Infinity" in json.dumps(first["data"])
    json.dumps([first, second], ensure_ascii=False).encode()
    assert "validation/loss" not in {it["name"] for it in second["points"]}
    assert second["data"]["validation"]["loss"] == "NaN"


def test_a_server_that_is_not_there_or_refuses_is_an_error_before_training(
    opened: Opened, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ESPER_ES_URL", raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for url, why in (
        (None, "ESPER_ES_URL"),
        (address, "Connection"),
        ("localhost", 'cannot use "localhost"'),
        ("http://[::1", "cannot use"),
        ("http://u:secret@localhost:1", "password"),
        ("http://u:secret@[::1", "password"),
    ):
        with pytest.raises(EsperError, match=why) as caught:
            opened(url=url)
        assert caught.value.code == "E504"
        assert "secret" not in str(caught.value)
    faults.missing = "/_index_template/.*"
    with pytest.raises(EsperError, match="not allowed"):
        opened()


@pytest.mark.parametrize("index", ["Esper", "-esper", "", "a b", "e" * 201])
def test_an_index_that_the_server_would_refuse_is_refused_in_words(index: str) -> None:
    with pytest.raises(ValueError, match=r"'index' must be at most 200 lower-case letters, .* such as esper-events"):
        ElasticsearchConfig(index=index)


def test_the_environment_names_the_server_and_the_key(
    opened: Opened, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESPER_ES_URL", faults.url)
    opened(url=None).emit(notices(0))
    assert numbers(faults) == [0]
    monkeypatch.setenv("ESPER_ES_URL", "http://u:secret@127.0.0.1:1")
    with pytest.raises(EsperError) as caught:
        opened(url=None)
    assert "secret" not in str(caught.value)


def test_nothing_is_drawn_from_the_generator_of_the_run(opened: Opened, faults: Any) -> None:
    before = random.getstate()
    sink = opened()
    faults.faults = [429, "partial"]
    sink.emit(notices(0, 1, 2))
    assert random.getstate() == before


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """A server that others wrote: a cluster where ESPER_ES_URL names one, or noida-db."""
    if url := os.environ.get("ESPER_ES_URL"):
        yield url
        return
    program = shutil.which("noida-db", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert program is not None, "noida-db is in the group dev"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        program,
        "start",
        "--only",
        "elasticsearch",
        "--elasticsearch-port",
        str(port),
        "--data-dir",
        str(tmp_path),
    ]
    with (tmp_path / "log").open("wb") as log:
        # A session of its own: the program only starts another one, which would go on.
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> Elasticsearch:
    client = Elasticsearch(url, api_key=os.environ.get("ESPER_ES_API_KEY"), max_retries=0)
    end = time.monotonic() + 60
    while True:
        try:
            client.info()
            return client
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.slow
def test_a_server_of_others_holds_a_run_once(real: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client, index = answers(real), f"esper-test-{uuid4().hex[:8]}"
    monkeypatch.setenv("ESPER_ES_URL", real)
    manifest = {"name": "digits-1", "started": uuid4().hex, "config": {"epochs": 10}}
    try:
        sink = ElasticsearchSink(ElasticsearchConfig(index=index))
        sink.open(manifest)
        for _ in range(2):  # the second time each is there already
            sink.emit([epoch(0, 0.25), *notices(*range(1, 300))])
        sink.close()
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == 300
        found = client.search(index=index, query={"match": {"text": "n17"}})["hits"]["hits"]
        assert [it["_source"]["sequence"] for it in found] == [17]
        found = client.search(index=index, query={"term": {"kind": "epoch_completed"}})["hits"]["hits"]
        points = {it["name"]: it["value"] for it in found[0]["_source"]["points"]}
        assert points["validation/loss"] == 0.25
        again = ElasticsearchSink(ElasticsearchConfig(index=index))
        again.open(manifest | {"resumed_at": 200})
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == 200
        again.emit(notices(200, 201))
        again.close()
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == 202
    finally:
        try:
            client.indices.delete(index=index)
            client.indices.delete_index_template(name=index)
        except ApiError:
            pass  # it is not every server's
        client.close()
