"""Each sink with each fault: the run and the sink beside it notice nothing, and what was lost is counted."""

import json
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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

#: The sinks of `esper-standard`.
EMBEDDED = ("console", "jsonl", "directory", "sqlite")
EVENTS = 384


@pytest.fixture(scope="module")
def registry() -> Any:
    return load_plugins().registry


def built(registry: Any, name: str) -> Any:
    registered = registry.get(SinkSpec.kind, name)
    return resolve(registered)(build_config(registered, {}))


@pytest.fixture
def told() -> Iterator[Any]:
    """Return a function that tells recorded events to a faulty sink and to a sound one."""
    faulty: list[FaultySink] = []

    def tell(sink: FaultySink, directory: Path, deadline: float) -> Hub:
        faulty.append(sink)
        other = JsonlSink(JsonlConfig(path=str(directory / "sound.jsonl")))
        limits = QueueLimits(deadline=60.0)
        hub = Hub({"bad": sink, "good": other}, limits=limits)
        hub.open({"name": NAME, "directory": str(directory)})
        # A sink may take its time to open; from here on the test would have to wait for what hangs.
        object.__setattr__(limits, "deadline", deadline)
        for _, event in zip(range(EVENTS), recorded_events(), strict=False):
            hub.emit(event)
        return hub

    yield tell
    for sink in faulty:
        sink.let_go.set()


@pytest.mark.parametrize("fault", [*Fault])
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_fault_of_a_sink_is_nobody_elses(registry: Any, told: Any, tmp_path: Path, name: str, fault: Fault) -> None:
    sink = FaultySink(built(registry, name), fault)
    stuck = fault in (Fault.HANG, Fault.REFUSE_TO_CLOSE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hub = told(sink, tmp_path, deadline=1.5 if stuck else 60.0)
        # All of it is on its way: no emit has waited for the sink, which is still slow, or hangs.
        assert hub.next_number >= EVENTS
        if fault is Fault.SLOW:
            assert sink.began.wait(60.0)
            sink.let_go.set()
        hub.close()
    assert (
        any(
            f'"bad" hangs in {"close" if fault is Fault.REFUSE_TO_CLOSE else "emit"}' in str(it.message)
            for it in caught
        )
        == stuck
    )
    log, counts = read_event_log(tmp_path / "sound.jsonl"), hub.counts()
    assert log is not None
    assert (log.lost, log.damaged, log.torn) == (0, 0, False)
    assert len(log.events) == counts["good"].delivered == hub.next_number
    assert (counts["good"].dropped, counts["good"].errors) == (0, 0)
    failures = [it["data"] for it in log.events if it["kind"] == "plugin_failed"]
    assert {it["plugin"] for it in failures} <= {"bad"}
    check_counts(counts["bad"], fault, hub.next_number, failures)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from esper_core.leyline.records import to_json
from esper_core.leyline.specs import SinkSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.resolve import build_config, resolve
from esper_nissa.hub import Hub
from recorded import NAME, recorded_events

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
registry = load_plugins().registry
names = ("jsonl", "directory", "sqlite")
specs = {name: registry.get(SinkSpec.kind, name) for name in names}
hub = Hub({name: resolve(it)(build_config(it, {})) for name, it in specs.items()})
hub.open({"name": NAME, "directory": sys.argv[1]})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for _, event in zip(range(2_000), recorded_events()):
    hub.emit(event)
hub.close()
print(to_json(hub.counts()))
"""


def test_a_disk_that_is_really_full_leaves_valid_files_and_is_counted(tmp_path: Path) -> None:
    here, run = Path(__file__).parent, tmp_path / "run"
    run.mkdir()
    command = [sys.executable, "-c", FULL_DISK, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(here)}, check=True)
    counts = json.loads(done.stdout)
    assert {name for name, it in counts.items() if it["dropped"] and it["disabled"]} == {"jsonl", "directory", "sqlite"}
    folder = tmp_path / "telemetry" / (run / "telemetry-folder.txt").read_text().strip()
    for path, name in ((run / "events.jsonl", "jsonl"), (folder / "events.jsonl", "directory")):
        log = read_event_log(path)
        assert log is not None
        # A batch that does not fit is lost as a whole; a smaller one behind it may fit.
        assert (log.damaged, log.torn) == (0, False)
        assert log.lost <= counts[name]["dropped"]
        assert 0 < len(log.events) == counts[name]["delivered"]
        assert path.stat().st_size <= 200_000
    with sqlite3.connect(run / "events.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        numbers = [number for (number,) in connection.execute("SELECT sequence FROM events ORDER BY sequence")]
    connection.close()
    assert len({*numbers}) == len(numbers) == counts["sqlite"]["delivered"] > 0
