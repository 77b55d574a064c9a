"""What telemetry costs a run: `python tests/benchmarks/telemetry_cost.py [levels] [profiles] [faults]`.

`levels`: microseconds of the training thread for each `emit` of what a real run has recorded, at each level, into a
sink that does nothing. `profiles`: the time of a run on digits with each level and profile and the sinks `jsonl` and
`sqlite`, beside one without sinks. `faults`: the time of a run whose sink has a fault, for each sink and fault, beside
one whose sink is sound; a slow one takes 20 ms for each batch.

Runs take turns, so that a busy machine is busy for all of them. Times of profiles are those that the processor worked
for the whole process, threads of sinks included: the median over the rounds, and over the ratios within each. Times of
faults are by the clock on the wall, the least of the rounds, and only as good as the machine is idle. Beside them are
the share of its time that the training thread spent in `emit`, waits and whatever else the machine did included, and of
the processor's time for that thread: `emit` is all that a fault can add to but for the work of the sink's own thread.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, thread_time
from typing import Any
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "nissa"))

from faulty import Fault, FaultySink
from recorded import recorded_events

from esper_app.api import execute, list_plugins, resolve_run
from esper_app.execution import run_parts
from esper_core.leyline.events import Event, Level
from esper_nissa.hub import Hub
from esper_nissa.profiles import Profile
from esper_nissa.telemetry_rules import TelemetryRules

_SINKS = 'sinks.names=["jsonl", "sqlite"]'
_EMBEDDED = ("console", "jsonl", "directory", "sqlite")


#: Seconds of the processor, of the epochs on the wall, and of these in `emit`; shares of the training thread's own time
#: of the processor that it spent in `emit`.
Times = tuple[float, float, float, float]


class Silent:
    """A sink that does nothing."""

    def open(self, manifest: Any) -> None:
        """Nothing."""

    def emit(self, events: Any) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def levels(rounds: int, events: int = 20_000) -> None:
    """Print microseconds per emit at each level."""
    told = [event for _, event in zip(range(events), recorded_events(), strict=False)]
    for level in Level:
        micro = [one for _ in range(rounds) for one in _emits(told, level)]
        print(f"{level.name.lower():8} emit: median {median(micro):.1f} us, p99 {quantiles(micro, n=100)[98]:.1f} us")


def _emits(events: list[Event], level: Level) -> list[float]:
    hub, seconds = Hub({"silent": Silent()}, rules=TelemetryRules(level=level)), []
    hub.open({"name": "cost"})
    for event in events:
        began = perf_counter()
        hub.emit(event)
        seconds.append(1e6 * (perf_counter() - began))
    hub.close()
    return seconds


def profiles(rounds: int, epochs: int) -> None:
    """Print the time of a run with each level and profile, relative to one without sinks."""
    cases: dict[str, tuple[str, ...]] = {"no sinks": ("telemetry=off", "sinks.names=[]")}
    cases |= {f"level {level.name.lower()}": (f"telemetry={level.name.lower()}", _SINKS) for level in Level}
    cases |= {f"profile {it}": (f"telemetry.profile={it}", _SINKS) for it in Profile}
    found = _in_turn({name: _run(settings, epochs) for name, settings in cases.items()}, rounds)
    for name, times in found.items():
        ratios = [one[0] / bare[0] for one, bare in zip(times, found["no sinks"], strict=True)]
        print(f"{name:20} {median(it[0] for it in times):6.2f} s, {100 * (median(ratios) - 1):+.1f} %")


def faults(rounds: int, epochs: int, sinks: Sequence[str]) -> None:
    """Print the time of a run whose sink has a fault, relative to one with the sound sink."""
    for name in sinks:
        settings = (f'sinks.names=["{name}"]',)
        cases = {"sound": _run(settings, epochs)} | {it.value: _run(settings, epochs, it) for it in Fault}
        found = _in_turn(cases, rounds)
        sound = min(it[1] for it in found["sound"])
        for fault, times in found.items():
            wall, share = min(it[1] for it in times) / sound, median(it[2] / it[1] for it in times)
            own = median(it[3] for it in times)
            said = f"in emit {100 * share:.2f} % of the time, {100 * own:.2f} % of the processor's"
            print(f"{name:10} {fault:16} wall {wall:.3f}, {said}", flush=True)


def _run(settings: tuple[str, ...], epochs: int, fault: Fault | None = None) -> Callable[[], Times]:
    """Return what runs once and returns its times."""
    plugins = list_plugins()
    always = (f"epochs={epochs}", "twin=epochs", "checkpoints.every=0")

    def once() -> Times:
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            resolved = resolve_run("digits", plugins, sets=(*always, *settings, f"runs={folder}"))
            with (
                patch.object(run_parts, "build_sinks", _with(fault)),
                patch.object(run_parts.RunContext, "run_finish", _finish),
                patch.object(Hub, "emit", _emit_timed),
            ):
                began, own = (process_time(), perf_counter()), thread_time()
                _emitting[:] = 0.0, 0.0
                execute(resolved, plugins)
                return process_time() - began[0], _over[0] - began[1], _over[1], _over[2] / (_over[3] - own)

    return once


#: When the last run's epochs were over, as closing waits for what hangs, once, up to the deadline: the time, seconds in
#: emit on the wall and of the processor, and the training thread's seconds of the processor.
_over = [0.0, 0.0, 0.0, 0.0]
_emitting = [0.0, 0.0]
_run_finish, _emit = run_parts.RunContext.run_finish, Hub.emit


def _emit_timed(hub: Hub, event: Event) -> None:
    began, own = perf_counter(), thread_time()
    _emit(hub, event)
    _emitting[0] += perf_counter() - began
    _emitting[1] += thread_time() - own


def _finish(context: Any, result: Mapping[str, Any]) -> None:
    _over[:] = perf_counter(), *_emitting, thread_time()
    for worker in context.hub._workers:
        if isinstance(worker._sink, FaultySink):
            worker._sink.let_go.set()
    _run_finish(context, result)


def _with(fault: Fault | None) -> Callable[..., Any]:
    build = run_parts.build_sinks

    def built(*arguments: Any) -> dict[str, Any]:
        sinks = build(*arguments)
        return {name: sink if fault is None else FaultySink(sink, fault, slowness=0.02) for name, sink in sinks.items()}

    return built


def _in_turn(cases: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in cases}
    for run in cases.values():
        run()  # what is done once is done before
        break
    for _ in range(rounds):
        for name, run in cases.items():
            found[name].append(run())
    return found


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["levels", "profiles", "faults"])
    parser.add_argument("--sinks", nargs="*", default=_EMBEDDED, help="for `faults`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if "levels" in options.what:
        levels(options.rounds)
    if "profiles" in options.what:
        profiles(options.rounds, options.epochs)
    if "faults" in options.what:
        faults(options.rounds, options.epochs, options.sinks)


if __name__ == "__main__":
    main()
