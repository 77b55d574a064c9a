"""What a bus costs the epochs of a run: `python tests/benchmarks/bus_cost.py [--rounds 5] [--epochs 10]`.

The same run of `digits` goes on without a bus, on one that answers (sqlite), and on one whose server is dead (redis),
one after the other, several times. An epoch of each of them computes the same, so its shortest times are compared: by
the clock, of the processor in the thread that trains, and of the processor in the whole process. Shown are the sums
over the epochs after the first, and what they are of those without a bus.

On a busy machine these ratios are those of its noise. So the calls that hand messages over are timed as well, and the
thread that publishes: the processor time of both is what a bus takes, but for what threads
wait for each other.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from esper_app.api import execute, load_plugins, resolve_run
from esper_messaging.background import BackgroundPublisher
from esper_messaging.run_messages import RunMessages
from esper_nissa.context import RunContext

BUSES = {"without": None, "sqlite": ("sqlite", "sqlite:"), "dead": ("redis", "redis+unix:///nowhere.sock")}


class Clock(RunContext):
    """Notes when the growing host's epochs end."""

    ends: list[tuple[float, ...]] = []
    timed: tuple["Timed", ...] = ()

    def epoch_end(self, host, evidence):
        """Note it."""
        if host == "grown":
            clocks = time.perf_counter(), time.thread_time(), time.process_time()
            self.ends.append((*clocks, *(it.seconds for it in self.timed)))
        super().epoch_end(host, evidence)


class Timed:
    """Adds up the processor time of methods, in whichever thread they are called."""

    def __init__(self, cls, *names):
        self.seconds = 0.0
        for name in names:
            setattr(cls, name, self._timed(getattr(cls, name)))

    def _timed(self, method):
        def timed(*arguments, **named):
            began = time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - began

        return timed


def run(bus, epochs, folder):
    """Return the times of each epoch but the first, and what became of messages."""
    os.environ["ESPER_STATE"] = str(folder / "state")
    settings = {"epochs": epochs, "runs": str(folder / "runs"), "checkpoints.every": 0, "sinks.names": ["jsonl"]}
    if bus is not None:
        settings |= {"bus.name": bus[0], "bus.url": bus[1]}
    plugins = load_plugins()
    Clock.ends = []
    finished = execute(resolve_run("digits", plugins, settings=settings), plugins)
    told = finished.result.get("bus", {})
    pairs = zip(Clock.ends, Clock.ends[1:], strict=False)
    return [[after - before for before, after in zip(*pair, strict=True)] for pair in pairs], told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    import esper_app.execution.run_parts as parts

    parts.RunContext = Clock
    Clock.timed = (
        Timed(RunMessages, "hear", "host_reports", "round_over"),
        Timed(BackgroundPublisher, "_write_down", "_try_to_send"),
    )
    found, told = defaultdict(list), {}
    for _ in range(options.rounds):
        for name, bus in BUSES.items():
            with tempfile.TemporaryDirectory() as folder:
                spans, told[name] = run(bus, options.epochs, Path(folder))
            found[name].append(spans)
    least = {
        name: [sum(min(run[epoch][which] for run in runs) for epoch in range(options.epochs - 1)) for which in range(5)]
        for name, runs in found.items()
    }
    for name, times in least.items():
        ratios = (f"{one:.3f} s ({one / base:.3f})" for one, base in zip(times[:3], least["without"][:3], strict=True))
        print(f"{name:8} clock, thread, process: {', '.join(ratios)}")
        if told[name]:
            epoch = 1e3 * least["without"][2] / (options.epochs - 1)
            handed, published = (1e3 * seconds / (options.epochs - 1) for seconds in times[3:])
            share = (handed + published) / epoch
            spent_on = f"handed over in {handed:.3f} ms, published in {published:.3f} ms"
            print(f"         of {epoch:.1f} ms an epoch: {spent_on}: {share:.4f}")
            print(f"         {json.dumps({key: it for key, it in told[name].items() if key != 'last_error'})}")
    print(f"load: {os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.epochs} epochs")


if __name__ == "__main__":
    main()
