import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from attrs import define, evolve, field
from prometheus_client.parser import text_string_to_metric_families

from esper_alerts.catalogue import CATALOGUE, exported_name
from esper_core.api import EsperError, Event, EventKind
from esper_runs.metrics import METRICS
from esper_sink_prometheus.config import PrometheusConfig
from esper_sink_prometheus.endpoint import TARGETS
from esper_sink_prometheus.sink import PrometheusSink

NOW = 1000.0
CONFIG = {"epochs": 10, "task": {"name": "digits"}}
HOSTILE = 'a"} 1\nevil{x="\\\x1b\udc80' + "x" * 500


@define
class Gateway:
    """A pushgateway that keeps what is pushed, or fails as it is told to."""

    status: int = 200
    pushed: list[tuple[str, str]] = field(factory=list)
    url: str = ""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if found.status == 200:
                found.pushed.append((self.path, body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


Opened = Callable[..., PrometheusSink]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    sinks: list[PrometheusSink] = []

    def make(name: str = "digits-1", **options: Any) -> PrometheusSink:
        sink = PrometheusSink(PrometheusConfig(**options), clock=lambda: NOW)
        sinks.append(sink)
        (tmp_path / "run").mkdir(exist_ok=True)
        sink.open({"directory": str(tmp_path / "run"), "name": name, "seed": 3, "config": CONFIG})
        return sink

    yield make
    for sink in sinks:
        try:
            sink.close()
        except OSError:
            assert sink.registry is None


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def scraped(sink: PrometheusSink) -> Samples:
    assert sink.url is not None
    with urlopen(sink.url, timeout=10) as answer:
        return parsed(answer.read().decode())


def value(samples: Samples, name: str, run: str = "digits-1", **labels: str) -> float | None:
    return samples.get((name, frozenset({"run": run, **labels}.items())))


def seed(slot: str = "block0", stage: str = "BLENDING", **facts: Any) -> dict[str, Any]:
    contribution = {"mean": 0.125, "standard_error": 0.5}
    return {"slot": slot, "stage": stage, "alpha": 0.25, "contribution": contribution} | facts


def epoch(number: int = 0, *seeds: dict[str, Any], host: str = "grown", **data: Any) -> Event:
    data = {"train": {"loss": 0.5, "seconds": 1.0}, "validation": {"loss": 0.1, "accuracy": 0.75}} | data
    return Event(
        kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data | {"seeds": list(seeds)}, time=NOW - 2
    )


def event(kind: EventKind, **data: Any) -> Event:
    return Event(kind=kind, host=data.pop("host", "grown"), data=data, time=NOW)


def test_numbers_are_read_over_http_and_by_prometheus_discovery(opened: Opened, tmp_path: Path) -> None:
    sink = opened()
    sink.emit([epoch(0, host="twin", validation={"loss": 0.5}), epoch(0, seed())])
    found = scraped(sink)
    assert value(found, "esper_validation_loss_nats", host="grown") == 0.1
    assert value(found, "esper_validation_accuracy_ratio", host="grown") == 0.75
    assert value(found, "esper_gain_nats", host="grown") == pytest.approx(0.4)
    assert value(found, "esper_slots_contribution_nats", host="grown", slot="block0") == 0.125
    assert value(found, "esper_epochs_total", host="grown") == 1
    assert value(found, "esper_run_info", task="digits", seed="3") == 1
    assert value(found, "esper_last_event_timestamp_seconds") == NOW - 2
    assert value(found, "esper_event_lag_seconds_bucket", le="5.0") == 2
    assert value(found, "esper_event_lag_seconds_bucket", le="1.0") == 0
    (group,) = json.loads((tmp_path / TARGETS / "run.json").read_text())
    assert [f"http://{it}/metrics" for it in group["targets"]] == [sink.url]
    sink.close()
    assert not (tmp_path / TARGETS / "run.json").exists()


def test_the_address_is_shown_and_is_loopback(opened: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    sink = opened()
    assert sink.url is not None
    assert sink.url.startswith("http://127.0.0.1:")
    assert sink.url in capsys.readouterr().err


def test_the_port_is_free_again_once_the_run_is_over(opened: Opened) -> None:
    sink = opened()
    assert sink.url is not None
    port = int(sink.url.split(":")[2].split("/")[0])
    sink.close()
    again = opened(port=port)
    assert value(scraped(again), "esper_run_active") == 1


def test_a_seed_that_is_gone_leaves_no_number_behind(opened: Opened) -> None:
    sink = opened()
    sink.emit([epoch(0, seed("block0"), seed("block1", "TRAINING")), epoch(0, seed("block0"), host="other")])
    sink.emit([epoch(1, seed("block1", "FOSSILIZED"))])
    found = scraped(sink)
    assert value(found, "esper_slots_alpha", host="grown", slot="block0") is None
    assert value(found, "esper_slots_alpha", host="grown", slot="block1") == 0.25
    assert value(found, "esper_slots_alpha", host="other", slot="block0") == 0.25
    assert value(found, "esper_stage_seeds", host="grown", stage="BLENDING") is None
    assert value(found, "esper_stage_seeds", host="grown", stage="FOSSILIZED") == 1


def test_what_happens_is_counted(opened: Opened) -> None:
    sink = opened()
    gates = {"block0": [{"gate": "G2", "passed": False}, {"gate": "G1", "passed": True}]}
    behind = {"host_gain": {"mean": -1.0, "standard_error": 0.1}}
    even = {"host_gain": {"mean": -0.1, "standard_error": 0.1}}
    sink.emit(
        [
            epoch(0, seed(isolated=False, **behind), gates=gates),
            epoch(1, seed(isolated=True, contribution=None, **even), train={"loss": float("nan"), "seconds": 1.0}),
            event(EventKind.ACTION_DECIDED, op="CULL"),
            event(EventKind.ACTION_DENIED),
            event(EventKind.SEED_TRANSITION, target="CULLED", cause="safety"),
            event(EventKind.SEED_FINISHED, blueprint="noop", final_stage="CULLED"),
            event(EventKind.GOVERNOR_INTERVENED, mode="conservative"),
            event(EventKind.PLUGIN_FAILED, host="", place="observer"),
            event(EventKind.ROUND_FINISHED, host="", figures={"entropy": 0.5}),
        ]
    )
    found = scraped(sink)
    grown = {"host": "grown"}
    assert value(found, "esper_gate_verdicts_total", **grown, gate="G2", passed="no") == 1
    assert value(found, "esper_gate_verdicts_total", **grown, gate="G1", passed="yes") == 1
    assert value(found, "esper_isolation_violations_total", **grown) == 1
    assert value(found, "esper_epochs_compared_total", **grown) == 2
    assert value(found, "esper_epochs_behind_total", **grown) == 1
    assert value(found, "esper_losses_total", **grown, finite="no") == 1
    assert value(found, "esper_losses_total", **grown, finite="yes") == 3
    assert value(found, "esper_seeds_contributing", **grown) == 1
    assert value(found, "esper_seeds_measured", **grown) == 0
    assert value(found, "esper_actions_total", **grown, op="CULL") == 1
    assert value(found, "esper_actions_denied_total", **grown) == 1
    assert value(found, "esper_seeds_culled_total", **grown, cause="safety") == 1
    assert value(found, "esper_seeds_culled_total", **grown, cause="gate") == 0
    assert value(found, "esper_seeds_finished_total", **grown, blueprint="noop", stage="CULLED") == 1
    assert value(found, "esper_governor_mode", **grown) == 1
    assert value(found, "esper_plugin_failures_total", place="observer") == 1
    assert value(found, "esper_plugin_failures_total", place="sink") == 0
    assert value(found, "esper_rounds_figures", host="", figure="entropy") == 0.5
    assert value(found, "esper_rounds_total") == 1


def test_slow_epochs_are_those_of_twice_the_median_before(opened: Opened) -> None:
    sink = opened()
    for number, seconds in enumerate((9.0, 1.0, 1.0, 1.0, 2.1, 1.9)):
        sink.emit([epoch(number, train={"loss": 0.5, "seconds": seconds})])
    assert value(scraped(sink), "esper_epochs_slow_total", host="grown") == 1


def test_the_number_of_series_is_bounded_and_what_is_refused_is_counted(opened: Opened) -> None:
    sink = opened(most_series=5)
    sink.emit([event(EventKind.REWARD_COMPUTED, terms={f"term{number}": 1.0 for number in range(40)}, total=40.0)])
    found = scraped(sink)
    assert sum(name == "esper_reward_terms" for name, _ in found) == 5
    assert value(found, "esper_reward", host="grown") == 40
    refused = value(found, "esper_series_refused_total")
    assert refused is not None
    assert refused >= 35


def test_hostile_names_stay_values_of_labels(opened: Opened, tmp_path: Path) -> None:
    sink = opened(HOSTILE, textfile=str(tmp_path / "out.prom"))
    sink.emit([evolve(epoch(0, seed(HOSTILE)), host=HOSTILE)])
    sink.emit([event(EventKind.REWARD_COMPUTED, host=HOSTILE, terms={HOSTILE: 1.0}, total=1.0)])
    sink.flush()
    for found in (scraped(sink), parsed((tmp_path / "out.prom").read_text())):
        assert {name.partition("_")[0] for name, _ in found} == {"esper"}
        texts = {text for _, labels in found for _, text in labels}
        assert all(len(text) <= 120 and text.isprintable() for text in texts)
        assert len({text for text in texts if "evil" in text}) == 1


def test_the_textfile_is_replaced_whole_and_says_how_the_run_ended(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "collector" / "esper.prom"
    sink = opened(http=False, textfile=str(path))
    sink.emit([epoch(3)])
    sink.flush()
    assert value(parsed(path.read_text()), "esper_epoch", host="grown") == 3
    sink.emit([event(EventKind.RUN_FINISHED, host="", outcome="completed", hosts={"grown": {"test_accuracy": 0.5}})])
    sink.close()
    found = parsed(path.read_text())
    assert value(found, "esper_run_active") == 0
    assert value(found, "esper_run_outcome", outcome="completed") == 1
    assert value(found, "esper_test_accuracy_ratio", host="grown") == 0.5
    assert [it.name for it in path.parent.iterdir()] == [path.name]
    opened(http=False, textfile=str(path))  # the next run may replace it


def test_a_run_without_an_end_has_broken_off(opened: Opened, tmp_path: Path) -> None:
    sink = opened(http=False, textfile=str(tmp_path / "out.prom"))
    sink.close()
    assert value(parsed((tmp_path / "out.prom").read_text()), "esper_run_outcome", outcome="broken-off") == 1


def test_a_pushgateway_is_given_the_run_as_a_group(opened: Opened, gateway: Gateway) -> None:
    sink = opened(http=False, pushgateway=gateway.url)
    sink.emit([epoch(2)])
    sink.flush()
    sink.close()
    assert [path for path, _ in gateway.pushed] == ["/metrics/job/esper/run/digits-1"] * 3
    assert [value(parsed(body), "esper_epoch", host="grown") for _, body in gateway.pushed] == [None, 2, 2]
    assert [value(parsed(body), "esper_run_active") for _, body in gateway.pushed] == [1, 1, 0]


def test_a_pushgateway_that_fails_is_counted_and_tried_again(opened: Opened, gateway: Gateway) -> None:
    sink = opened(pushgateway=gateway.url)
    gateway.status = 503
    for _ in range(5):
        sink.flush()
    assert value(scraped(sink), "esper_exports_failed_total", destination="pushgateway") == 5
    gateway.status = 200
    sink.flush()
    assert value(parsed(gateway.pushed[-1][1]), "esper_exports_total", destination="pushgateway") == 7
    gateway.status = 503
    with pytest.raises(OSError, match="the last values are missing"):
        sink.close()
    sink.close()


@pytest.mark.slow
def test_a_pushgateway_that_fails_is_an_alert_that_clears(opened: Opened, gateway: Gateway, promtool: Any) -> None:
    """What the endpoint offers minute by minute, of which the gateway refuses five pushes."""
    sink = opened(pushgateway=gateway.url)
    series: dict[str, list[float | None]] = {}
    for minute in range(30):
        gateway.status = 503 if 5 <= minute < 10 else 200
        sink.flush()
        for (name, labels), number in scraped(sink).items():
            pairs = ", ".join(f"{key}={json.dumps(text)}" for key, text in labels)
            series.setdefault(f"{name}{{{pairs}}}", [None] * minute).append(number)
    gateway.status = 200
    promtool.check_alert("EsperExportFailing", series, {4: False, 8: True, 25: False})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"http": False}, "nowhere"),
        ({"textfile": "metrics.txt"}, r"end in \.prom"),
        ({"textfile": "taken.prom"}, "has not written"),
        ({"textfile": "link.prom"}, "no regular file"),
        ({"textfile": "taken.prom/out.prom"}, "taken.prom"),
        ({"pushgateway": "localhost"}, "no http or https address"),
        ({"pushgateway": "http://user:secret@127.0.0.1:1"}, r"http://127\.0\.0\.1:1"),
        ({"address": "203.0.113.1"}, "203"),
    ],
)
def test_a_bad_destination_is_refused_before_training(
    opened: Opened, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    (tmp_path / "taken.prom").write_text("# not Esper's\n")
    (tmp_path / "link.prom").symlink_to(tmp_path / "taken.prom")
    if "textfile" in options:
        options = {"textfile": str(tmp_path / options["textfile"])}
    with pytest.raises(EsperError, match=why) as caught:
        opened(**options)
    assert caught.value.code == "E504"
    assert "secret" not in str(caught.value)
    assert (tmp_path / "taken.prom").read_text() == "# not Esper's\n"


def test_a_port_in_use_is_refused_and_nothing_is_left_open(opened: Opened, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EsperError, match=r"sinks\.prometheus\.port") as caught:
            opened(port=taken.getsockname()[1])
    assert caught.value.code == "E504"
    assert not (tmp_path / TARGETS / "run.json").exists()
    with pytest.raises(EsperError):
        opened(textfile=str(tmp_path / "out.txt"))
    sink = PrometheusSink(PrometheusConfig(textfile=str(tmp_path / "out.txt")))
    with pytest.raises(EsperError):
        sink.open({"directory": None, "name": "x"})
    with pytest.raises(RuntimeError, match="not open"):
        sink.emit([epoch()])
    names = {thread.name for thread in threading.enumerate()}
    assert not any("serve_forever" in name for name in names)


def test_every_number_of_a_run_is_exported_under_its_own_name() -> None:
    names = [exported_name(metric) for metric in METRICS.values()]
    assert len(set(names)) == len(METRICS)
    assert set(names) <= set(CATALOGUE)
    assert exported_name(METRICS["compute/training"]) == "esper_compute_training_flops_total"
    assert exported_name(METRICS["reward/total"]) == "esper_reward"
    assert exported_name(METRICS["test/gain"]) == "esper_test_gain_nats"


def test_the_registry_knows_every_metric(opened: Opened) -> None:
    sink = opened()
    assert sink.registry is not None
    (collector,) = sink.registry._collector_to_names
    assert {it.name for it in collector.describe()} == {name.removesuffix("_total") for name in CATALOGUE}
