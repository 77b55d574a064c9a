"""What telemetry costs the training thread, and what a log takes: `python tests/benchmarks/hub_cost.py`.

A burst of events goes through the hub into the sink `jsonl`, as fast as this thread can: rewards, and events that a
real run has recorded, most of them epochs, of which a line has a kilobyte. Shown are the microseconds that one `emit`
takes (median, 99th percentile, largest), the events a second from the first `emit` until everything is in the file, and
the microseconds of the processor for each event, threads and closing included. That every event is in the file, in
order, is checked.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parents[1] / "nissa"))

from recorded import recorded_events

from esper_core.leyline.events import Event, EventKind
from esper_nissa.hub import Hub
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink

_TERMS = dict.fromkeys(("attribution", "rent", "stages", "warnings", "terminal"), 0.25)


def rewards(count: int) -> Iterable[Event]:
    """Make small events, each when it is asked for."""
    for number in range(count):
        yield Event(kind=EventKind.REWARD_COMPUTED, host="grown", epoch=number, data={"terms": _TERMS, "total": 1.25})


def burst(events: Iterable[Event], folder: Path) -> tuple[list[float], float, float]:
    """Return the seconds of each emit, and the seconds of all on the wall and of the processor."""
    hub = Hub({"jsonl": JsonlSink(JsonlConfig())})
    hub.open({"name": "burst", "directory": str(folder)})
    seconds = []
    began, worked = perf_counter(), process_time()
    for event in events:
        at = perf_counter()
        hub.emit(event)
        seconds.append(perf_counter() - at)
    hub.close()
    passed, worked = perf_counter() - began, process_time() - worked
    with (folder / "events.jsonl").open() as lines:
        numbers = [json.loads(line)["sequence"] for line in lines]
    if numbers != list(range(len(seconds))):
        raise SystemExit(f"{len(numbers)} of {len(seconds)} events are in the log, or out of order")
    return seconds, passed, worked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    recorded = [*islice(recorded_events(), options.events)]
    for _ in range(options.rounds):
        for title, events in (("rewards", rewards(options.events)), ("recorded", recorded)):
            with tempfile.TemporaryDirectory() as folder:
                seconds, passed, worked = burst(events, Path(folder))
            micro = [1e6 * one for one in seconds]
            high = quantiles(micro, n=100)[98]
            print(
                f"{title:8} emit: median {median(micro):.1f} us, p99 {high:.1f} us, largest {max(micro):.0f} us;"
                f" {len(micro) / passed:,.0f} events/s; processor {1e6 * worked / len(micro):.1f} us an event",
                flush=True,
            )


if __name__ == "__main__":
    main()
