"""What a bus costs the epochs of a run: one that answers, and one whose server is dead, beside a run without one.

All runs compute the same. Timed is from the end of the first epoch to that of the last one; how a run begins and ends
is left out, and with a dead server nothing is waited for there either. CPU time is that of the process: of the thread
that trains, and of the one that publishes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import esper_app.execution.run_parts as run_parts
from bench.comparing import Effort, Row, Times
from esper_app.api import execute, list_plugins, resolve_run
from esper_app.configuration.resolve import ResolvedConfig
from esper_core.api import Evidence
from esper_core.plugins.plugin_set import PluginSet
from esper_nissa.context import RunContext
from esper_runs.result import GROWN

#: How much longer an epoch may take with a bus that does not answer.
_TARGET = 1.01


def buses(effort: Effort) -> Iterator[Row]:
    """Yield a row for each bus."""
    epochs, rounds = effort.of(12, 3), effort.of(15)
    with TemporaryDirectory() as folder, _state(Path(folder)), _epochs_noted():
        plugins, sets = list_plugins(), (f"epochs={epochs}", f"runs={folder}/runs", "checkpoints.every=0")
        addresses = {
            "without": (),
            "sqlite": ("bus.name=sqlite", f'bus.url="sqlite:{folder}/bus.sqlite"'),
            "dead": ("bus.name=redis", f'bus.url="redis+unix://{folder}/nowhere.sock"'),
        }
        runs = {name: resolve_run("digits", plugins, sets=(*sets, *bus)) for name, bus in addresses.items()}
        times = _in_turn(runs, plugins, rounds)
    what, against = "epochs of `esper run digits`, bus", "the same run without a bus"
    yield times.row(f"{what} `sqlite:`", "sqlite", "without", against=against)
    yield times.row(f"{what} of a dead server", "dead", "without", against=against, target=_TARGET)


def _in_turn(runs: Mapping[str, ResolvedConfig], plugins: PluginSet, rounds: int) -> Times:
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        # The first one warms up; the one that comes first in a round takes turns as well.
        names = [*runs][turn % len(runs) :] + [*runs][: turn % len(runs)]
        for name in names:
            _Noting.ends.clear()
            with redirect_stdout(StringIO()):
                execute(runs[name], plugins)
            (began, clock), *_, (ended, stopped) = _Noting.ends
            if turn:
                cpu[name].append(ended - began)
                wall[name].append(stopped - clock)
    return Times(cpu=cpu, wall=wall)


class _Noting(RunContext):
    """Notes when the epochs of the growing host end."""

    ends: list[tuple[float, float]] = []

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        """Note it."""
        if host == GROWN:
            self.ends.append((process_time(), perf_counter()))
        super().epoch_end(host, evidence)


@contextmanager
def _epochs_noted() -> Iterator[None]:
    run_parts.RunContext, kept = _Noting, run_parts.RunContext  # type: ignore[misc]
    try:
        yield
    finally:
        run_parts.RunContext = kept  # type: ignore[misc]


@contextmanager
def _state(folder: Path) -> Iterator[None]:
    before = os.environ.get("ESPER_STATE")
    os.environ["ESPER_STATE"] = str(folder / "state")
    try:
        yield
    finally:
        os.environ.pop("ESPER_STATE")
        if before is not None:
            os.environ["ESPER_STATE"] = before
