"""What telemetry costs the training thread, and what a log takes: `python tests/benchmarks/hub_cost.py`.

A burst of events goes through the hub into the sink `jsonl`, as fast as this thread can. Shown are the microseconds
that one `emit` takes (median, 99th percentile, largest) and the events a second from the first `emit` until everything
is in the file, with the number of events that are in it.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from esper_core.leyline.events import Event, EventKind
from esper_nissa.hub import Hub
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink

_TERMS = dict.fromkeys(("attribution", "rent", "stages", "warnings", "terminal"), 0.25)


def burst(count: int, folder: Path) -> tuple[list[float], float, int]:
    """Return the seconds of each emit, events a second, and how many events the log holds."""
    hub = Hub({"jsonl": JsonlSink(JsonlConfig())})
    hub.open({"name": "burst", "directory": str(folder)})
    seconds = []
    began = perf_counter()
    for number in range(count):
        event = Event(kind=EventKind.REWARD_COMPUTED, host="grown", epoch=number, data={"terms": _TERMS, "total": 1.25})
        at = perf_counter()
        hub.emit(event)
        seconds.append(perf_counter() - at)
    hub.close()
    rate = count / (perf_counter() - began)
    with (folder / "events.jsonl").open() as lines:
        numbers = [json.loads(line)["sequence"] for line in lines]
    if numbers != list(range(count)):
        raise SystemExit(f"{len(numbers)} of {count} events are in the log, or out of order")
    return seconds, rate, len(numbers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds, rate, kept = burst(options.events, Path(folder))
        micro = [1e6 * one for one in seconds]
        high = quantiles(micro, n=100)[98]
        print(
            f"emit: median {median(micro):.1f} us, p99 {high:.1f} us, largest {max(micro):.0f} us;"
            f" {rate:,.0f} events/s, {kept:,} in the log"
        )


if __name__ == "__main__":
    main()
