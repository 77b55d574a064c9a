import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind
from esper_runs.metrics import METRICS, MetricReader
from esper_sink_otlp.config import OtlpConfig
from esper_sink_otlp.numbers import markdown_table, metric_name
from esper_sink_otlp.sink import OtlpSink

README = Path(__file__).parents[1] / "README.md"
NOW = 1000.0
STRANGE = "\udc80 \x00 \u2028"
CONFIG = {"epochs": 10, "task": {"name": "digits"}, "policy": {"name": "heuristic"}}

Opened = Callable[..., OtlpSink]


@pytest.fixture
def opened(collector: Any) -> Iterator[Opened]:
    sinks: list[OtlpSink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **options: Any) -> OtlpSink:
        sink = OtlpSink(OtlpConfig(**{"endpoint": collector.url, **options}), clock=lambda: NOW)
        sinks.append(sink)
        manifest = {"name": name, "started": "2026", "seed": 3, "config": CONFIG}
        sink.open(manifest | ({} if resumed_at is None else {"resumed_at": resumed_at}))
        return sink

    yield make
    for sink in sinks:
        try:
            sink.close()
        except RuntimeError:
            assert collector.status != 200


def epoch(number: int = 3, host: str = "grown", time: float = 2000.0, loss: float = 0.5) -> Event:
    seed = {
        "slot": "block0",
        "stage": "BLENDING",
        "alpha": 0.25,
        "contribution": {"mean": 0.125, "standard_error": 0.5},
    }
    data = {
        "train": {"loss": 0.75, "seconds": 4.0},
        "validation": {"loss": loss, "accuracy": 0.75, "seconds": 1.0},
        "seeds": [seed],
        "gates": {"block0": [{"gate": "G3", "passed": False, "reason": STRANGE, "evidence": {"contribution": nan}}]},
    }
    return Event(kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data, time=time)


def finished(outcome: str = "completed") -> Event:
    data = {"outcome": outcome, "hosts": {"grown": {"test_accuracy": 0.875, "epochs": 4}}}
    return Event(kind=EventKind.RUN_FINISHED, data=data, time=3000.0)


def named(collector: Any, name: str) -> list[Any]:
    return [span for span in collector.spans() if span.name == name]


def test_a_run_is_a_trace_with_epochs_gates_and_counterfactuals(
    opened: Opened, collector: Any, attributes_of: Any
) -> None:
    sink = opened()
    cull = {"slot": "block0", "op": "CULL", "reason": "it does harm"}
    sink.emit([Event(kind=EventKind.ACTION_DECIDED, host="grown", data=cull, time=1999.0), epoch(), finished()])
    sink.close()
    ((run,), (span,), (gate,), (measured,)) = (
        named(collector, it) for it in ("run", "epoch", "gate", "counterfactual")
    )
    assert len(collector.spans()) == 4
    assert {it.trace_id for it in collector.spans()} == {run.trace_id}
    assert (run.parent_span_id, span.parent_span_id) == (b"", run.span_id)
    assert gate.parent_span_id == measured.parent_span_id == span.span_id
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1995 * 10**9, 2000 * 10**9)
    assert (run.start_time_unix_nano, run.end_time_unix_nano) == (1000 * 10**9, 3000 * 10**9)
    facts = attributes_of(span.attributes)
    assert (facts["esper.host"], facts["esper.epoch"], facts["esper.validation.loss"]) == ("grown", 3, 0.5)
    assert [(it.name, attributes_of(it.attributes)["esper.op"]) for it in span.events] == [("action_decided", "CULL")]
    verdict = attributes_of(gate.attributes)
    assert (verdict["esper.gate"], verdict["esper.passed"], verdict["esper.slot"]) == ("G3", False, "block0")
    assert isnan(verdict["esper.evidence.contribution"])
    assert attributes_of(measured.attributes)["esper.difference.mean"] == 0.125
    assert attributes_of(run.attributes)["esper.grown.test_accuracy"] == 0.875
    assert attributes_of(run.attributes)["esper.outcome"] == "completed"
    assert run.status.code == 0


def test_a_checkpoint_is_a_span_in_the_newest_epoch(opened: Opened, collector: Any, attributes_of: Any) -> None:
    sink = opened()
    sink.emit([epoch(2, "twin"), epoch(2)])
    sink.checkpoint(2, 2000.5, 2001.25)
    (saved,) = named(collector, "checkpoint")
    newest = named(collector, "epoch")[-1]
    assert (saved.parent_span_id, saved.trace_id) == (newest.span_id, newest.trace_id)
    assert attributes_of(saved.attributes) == {"esper.epoch": 2}
    assert (saved.start_time_unix_nano, saved.end_time_unix_nano) == (2000_500_000_000, 2001_250_000_000)
    sink.emit([finished()])
    sink.checkpoint(3, 3001.0, 3002.0)  # behind the end of the run's span
    sink.close()
    assert len(named(collector, "checkpoint")) == 1


def test_the_resource_says_which_run_it_is(opened: Opened, collector: Any, attributes_of: Any) -> None:
    opened(service="mine").emit([epoch()])
    for request in (collector.traces[-1].resource_spans[0], collector.metrics[-1].resource_metrics[0]):
        facts = attributes_of(request.resource.attributes)
        assert facts["service.name"] == "mine"
        assert facts["esper.run"] == facts["rl.run.id"] == "digits-1"
        assert (facts["esper.task"], facts["rl.algorithm"]) == ("digits", "heuristic")


def test_every_number_is_a_point_at_its_events_time(opened: Opened, collector: Any, attributes_of: Any) -> None:
    events = [epoch(0, "twin", 1100.0, 0.75), epoch(0, time=1200.0), epoch(1, time=1300.0), finished()]
    opened().emit(events)
    reader = MetricReader({"config": CONFIG})
    wanted = {
        (metric_name(point.metric), point.host, point.step, tuple(sorted(point.labels.values())), point.value)
        for event in events
        for point in reader.points(event)
    }
    found = set()
    for metric, point in collector.points():
        if metric.name.startswith("rl."):
            continue
        facts = attributes_of(point.attributes)
        labels = {key for key in facts if key not in ("esper.host", "esper.epoch", "esper.round")}
        values = tuple(sorted(facts[key] for key in labels))
        found.add((metric.name, facts["esper.host"], facts["esper.epoch"], values, point.as_double))
    assert found == wanted
    times = {it.time_unix_nano for metric, it in collector.points() if metric.name == "esper.validation.loss"}
    assert times == {1100 * 10**9, 1200 * 10**9, 1300 * 10**9}
    assert next(it.unit for it, _ in collector.points() if it.name == "esper.validation.loss") == "{nat}"


def test_what_a_policy_learns_from_has_a_second_experimental_name(
    opened: Opened, collector: Any, attributes_of: Any
) -> None:
    figures = {"entropy": 0.5, "value loss": 0.25, "anomaly: ratio explosion": 0.0, "!": 3.0}
    learned = Event(
        kind=EventKind.ROUND_FINISHED, round=2, data={"figures": figures, "rewards": {"grown": [0.5, 1.0]}}, time=4.0
    )
    data = {"terms": {"gain": 0.5}, "total": 0.75}
    reward = Event(kind=EventKind.REWARD_COMPUTED, host="grown", epoch=3, data=data, time=2.0)
    opened().emit([reward, learned])
    found = {metric.name: point for metric, point in collector.points() if metric.name.startswith("rl.")}
    assert {name: point.as_double for name, point in found.items()} == {
        "rl.reward.total": 0.75,
        "rl.environment.reward.mean": 1.5,
        "rl.train.entropy": 0.5,
        "rl.train.value_loss": 0.25,
        "rl.train.anomaly_ratio_explosion": 0.0,
    }
    assert attributes_of(found["rl.environment.reward.mean"].attributes)["esper.host"] == "grown"
    twice = [point.as_double for metric, point in collector.points() if metric.name == "esper.reward.total"]
    assert twice == [0.75]


def test_no_two_metrics_have_one_name_and_the_readme_has_them_all() -> None:
    assert len({*map(metric_name, METRICS.values())}) == len(METRICS)
    assert markdown_table() in README.read_text()


def test_a_run_that_goes_on_goes_on_in_its_trace(opened: Opened, collector: Any) -> None:
    first = opened()
    first.emit([epoch()])
    first.close()
    again = opened(resumed_at=6)
    again.emit([epoch(4)])
    again.close()
    opened("other").close()
    (one, other), (resumed,) = named(collector, "run"), named(collector, "resumed run")
    assert one.trace_id == resumed.trace_id != other.trace_id
    assert resumed.parent_span_id == one.span_id
    assert named(collector, "epoch")[1].parent_span_id == resumed.span_id
    assert len({it.span_id for it in collector.spans()}) == len(collector.spans())


def test_a_run_without_an_end_or_with_a_bad_one_is_an_error(opened: Opened, collector: Any) -> None:
    opened().close()
    sink = opened("stopped")
    sink.emit([finished("stopped")])
    assert [(it.status.code, it.status.message) for it in named(collector, "run")] == [
        (2, "broken off"),
        (2, "stopped"),
    ]


def test_strange_text_and_figures_are_sent(opened: Opened, collector: Any, attributes_of: Any) -> None:
    sink = opened(STRANGE)
    data = {"message": STRANGE, STRANGE: {"x": STRANGE * 9000}, "large": 2**70, "nothing": None}
    sink.emit([Event(kind=EventKind.NOTICE, host=STRANGE, data=data, time=1.0), epoch(0, STRANGE, 2.0, nan)])
    (span,) = named(collector, "epoch")
    (noted,) = span.events
    facts = attributes_of(noted.attributes)
    assert facts["esper.message"] == STRANGE.replace("\udc80", r"\udc80")
    assert len(facts[f"esper.{facts['esper.message']}.x"]) == 4000
    assert "esper.large" not in facts
    assert any(isnan(point.as_double) for metric, point in collector.points() if metric.name == "esper.validation.loss")


def test_each_signal_can_be_left_out(opened: Opened, collector: Any) -> None:
    opened(traces=False).emit([epoch()])
    assert set(collector.paths) == {"/v1/metrics"}
    collector.paths.clear()
    opened(metrics=False).emit([epoch()])
    assert set(collector.paths) == {"/v1/traces"}


def test_what_is_not_taken_is_told_and_the_next_batch_is_sent(opened: Opened, collector: Any) -> None:
    sink = opened()
    collector.status = 400
    with pytest.raises(RuntimeError, match=r"does not take traces: .*400.*; the collector does not take metrics"):
        sink.emit([epoch(0)])
    collector.status = 200
    sink.emit([epoch(1)])
    assert len(named(collector, "epoch")) == 1


@pytest.mark.parametrize("there", ["nothing", "something else"])
def test_a_bad_destination_is_refused_before_training(
    opened: Opened, collector: Any, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    if there == "something else":
        collector.status = 404
        address = collector.url
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"endpoint": address, "timeout": 0.5}, "does not take"),
        ({"endpoint": "localhost:4318"}, "no http or https address"),
        ({"endpoint": "http://u:secret@localhost:1"}, "password"),
        ({"traces": False, "metrics": False}, "sends nothing"),
    )
    for options, why in cases:
        with pytest.raises(EsperError, match=why) as caught:
            opened(**options)
        assert caught.value.code == "E504"
        assert "secret" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_the_environment_names_the_collector(opened: Opened, collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{collector.url}/")
    opened(endpoint=None).emit([epoch()])
    assert named(collector, "epoch")


def test_a_busy_collector_is_tried_again(opened: Opened, collector: Any) -> None:
    sink = opened()
    collector.statuses = [503, 429]
    sink.emit([epoch()])
    assert len(named(collector, "epoch")) == 1
    assert collector.paths[2:] == ["/v1/traces"] * 3 + ["/v1/metrics"]


def test_headers_and_compression_are_those_of_the_environment(
    opened: Opened, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=general")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=own")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    opened().emit([epoch()])
    assert [it["api-key"] for it in collector.headers[-2:]] == ["own", "general"]
    assert {it["content-encoding"] for it in collector.headers} == {"gzip"}
    assert named(collector, "epoch")


def test_nothing_is_drawn_from_the_generator_of_the_run(opened: Opened, collector: Any) -> None:
    before = random.getstate()
    sink = opened()
    collector.statuses = [503]
    sink.emit([epoch()])
    sink.close()
    assert random.getstate() == before


@pytest.mark.slow
def test_a_real_run_tells_the_numbers_of_its_result(collector: Any, attributes_of: Any, tmp_path: Path) -> None:
    settings = (
        "epochs=4",
        "twin=epochs",
        "host.widths=[4, 8]",
        "name=real",
        "checkpoints.every=2",
        'sinks.names=["jsonl", "otlp"]',
        f"sinks.otlp.endpoint={collector.url}",
    )
    arguments = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "esper_app.cli", "run", "digits", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "runs" / "real" / "result.json").read_text())
    (run,) = named(collector, "run")
    assert attributes_of(run.attributes)["esper.outcome"] == "completed"
    assert len(named(collector, "epoch")) == 8
    assert [attributes_of(it.attributes)["esper.epoch"] for it in named(collector, "checkpoint")] == [1, 3]
    found = {
        attributes_of(point.attributes)["esper.host"]: point.as_double
        for metric, point in collector.points()
        if metric.name == "esper.test.accuracy"
    }
    assert found == {host: figures["test_accuracy"] for host, figures in result["hosts"].items()}
    assert result["sinks"]["otlp"]["dropped"] == result["sinks"]["otlp"]["errors"] == 0
