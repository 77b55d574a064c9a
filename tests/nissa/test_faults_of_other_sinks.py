"""The sinks outside of `esper-standard`, all with one fault at once: the run and a sound sink notice nothing.

Their programs and servers are real. What servers do wrong is tested where those sinks are.
"""

import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import pytest

from esper_core.leyline.protocols import Sink
from esper_core.leyline.specs import SinkSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.resolve import build_config, resolve
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import QueueLimits
from esper_runs.event_log import read_event_log
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink

sys.path.insert(0, str(Path(__file__).parent))

from faulty import Fault, FaultySink, check_counts
from recorded import NAME, recorded_events

_SPEC = importlib.util.spec_from_file_location("esper_test_servers", Path(__file__).parents[1] / "servers.py")
servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(servers)

pytestmark = pytest.mark.slow

EVENTS, DEADLINE = 150, 4.0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """The options of each sink, with servers and stores that are there."""
    folder = tmp_path_factory.mktemp("others")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    code = "import sys; from esper_sink_mlflow.store import open_store; open_store(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, store], check=True, capture_output=True)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"TRACKIO_DIR": str(folder / "trackio")}))
        elasticsearch = stack.enter_context(servers.elasticsearch_server(folder))
        otlp, _ = stack.enter_context(servers.otlp_collector())
        yield {
            "tensorboard": {},
            "prometheus": {"textfile": str(folder / "metrics.prom")},
            "alerts": {},
            "otlp": {"endpoint": otlp},
            "elasticsearch": {"url": elasticsearch},
            "mlflow": {"tracking_uri": store},
            "wandb": {"module": "trackio"},
        }


@pytest.fixture
def sinks(settings: dict[str, dict[str, Any]]) -> dict[str, Sink]:
    registry = load_plugins().registry
    found = {name: registry.get(SinkSpec.kind, name) for name in settings}
    return {name: resolve(it)(build_config(it, settings[name])) for name, it in found.items()}


@pytest.mark.parametrize("fault", [*Fault])
def test_a_fault_of_every_other_sink_is_nobody_elses(sinks: dict[str, Sink], tmp_path: Path, fault: Fault) -> None:
    faulty = {name: FaultySink(sink, fault) for name, sink in sinks.items()}
    sound = JsonlSink(JsonlConfig(path=str(tmp_path / "sound.jsonl")))
    limits = QueueLimits(deadline=60.0)
    hub = Hub({**faulty, "good": sound}, limits=limits)
    name = f"{NAME}-{fault.replace(' ', '-')}"
    hub.open({"name": name, "directory": str(tmp_path), "started": name, "config": {"epochs": 10}})
    stuck = fault in (Fault.HANG, Fault.REFUSE_TO_CLOSE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _, event in zip(range(EVENTS), recorded_events(), strict=False):
            hub.emit(event)
        assert hub.next_number >= EVENTS
        if fault is Fault.REFUSE_TO_CLOSE:
            hub.flush()
        for sink in faulty.values():
            assert fault is Fault.REFUSE_TO_CLOSE or sink.began.wait(60.0)
            if not stuck:
                sink.let_go.set()
        # A sink may take its time; from here on the test would have to wait for what hangs.
        if stuck:
            object.__setattr__(limits, "deadline", DEADLINE)
        began = monotonic()
        hub.close()
        took = monotonic() - began
    for sink in faulty.values():
        sink.let_go.set()
    place = "close" if fault is Fault.REFUSE_TO_CLOSE else "emit"
    hanging = {name for name in faulty if any(f'"{name}" hangs in {place}' in str(it.message) for it in caught)}
    assert hanging == ({*faulty} if stuck else set())
    # They are waited for together, not one after the other.
    assert took < len(faulty) * DEADLINE or not stuck
    log, counts = read_event_log(tmp_path / "sound.jsonl"), hub.counts()
    assert log is not None
    assert (log.lost, log.damaged, log.torn) == (0, 0, False)
    assert len(log.events) == counts["good"].delivered == hub.next_number
    failures = [it["data"] for it in log.events if it["kind"] == "plugin_failed"]
    for name in faulty:
        check_counts(counts[name], fault, hub.next_number, [it for it in failures if it["plugin"] == name])
