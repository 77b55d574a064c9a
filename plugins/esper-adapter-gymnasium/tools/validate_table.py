"""Compares the surrogate behind ``esper/GrowthTable-v0`` with real runs: schedules, carried out in both.

    python validate_table.py run FILE.jsonl [--schedules 40] [--from 0] [--seeds 0-2]
    python validate_table.py report FILE.jsonl

`run` trains the table's host on `digits` under each schedule with each random seed, by `esper run` and the policy
`fixed-schedule`, and appends a line for each; what is there is not done again. A dozen schedules are made by hand, the
rest are drawn. `report` prints how well the table ranks the runs (Spearman's correlation, with a percentile bootstrap
over schedules), and what another ramp would do: chosen on every other schedule, judged on the rest.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from recipe import SETTINGS
from result_lines import append, read
from schedules import Schedule, followed, plan_events, schedules

from esper_adapter_gymnasium.model import RAMP, GrowthModel
from esper_adapter_gymnasium.table import GrowthTable

#: A run keeps its events, from which the validation split's figures are read, and nothing else.
QUIET = ('sinks.names=["jsonl"]', "checkpoints.every=0")

RESAMPLES = 2_000


# ---------------------------------------------------------------------------------------------------------------- runs


def run(out: Path, first: int, count: int, seeds: Sequence[int]) -> None:
    """Do every run from a schedule on that the file does not hold yet, all seeds of a schedule in turn."""
    torch.set_num_threads(1)
    table, lines = GrowthTable.read(), list(read(out))
    done = {(line["seed"], line["schedule"]) for line in lines}
    twins = {line["seed"]: _of_twin(line) for line in lines}
    for number, schedule in enumerate(schedules(count, table)):
        for seed in seeds:
            if number >= first and (seed, number) not in done:
                began = time.process_time()
                line = {"seed": seed, "schedule": number, **trained(schedule, table, seed, twins.get(seed))}
                twins[seed] = _of_twin(line)
                append(out, [line | {"seconds": round(time.process_time() - began, 2)}])


def _of_twin(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name.startswith("twin ")}


def trained(schedule: Schedule, table: GrowthTable, seed: int, twin: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train under a schedule; return figures of validation after the last epoch, of the network and its twin.

    Args:
        schedule: what is done when.
        table: whose host is trained.
        seed: of the network and of its batches.
        twin: the twin's figures if they are known: whatever grows, it is the same network. None: it is trained.
    """
    from esper_app.configuration.components import RegisteredOptions
    from esper_app.configuration.overrides import parse_overrides
    from esper_app.configuration.resolve import resolve_config
    from esper_app.execution.run import execute
    from esper_core.leyline.specs import TaskSpec
    from esper_core.plugins.loader import load_plugins

    plugins = load_plugins()
    spec = plugins.registry.get(TaskSpec.kind, "digits").spec
    assert isinstance(spec, TaskSpec)
    with tempfile.TemporaryDirectory() as place:
        plan = Path(place) / "plan"
        plan.mkdir()
        (plan / "events.jsonl").write_text("".join(json.dumps(it) + "\n" for it in plan_events(schedule, table)))
        own = (f"seed={seed}", f'runs="{place}/runs"', "policy.name=fixed-schedule", f'policy.run="{plan}"')
        beside = (f"host.widths={list(table.widths)}", "twin=epochs" if twin is None else "twin=none")
        settings = parse_overrides([*SETTINGS, *QUIET, *own, *beside])
        execute(resolve_config(spec, RegisteredOptions(plugins.registry), overrides=settings), plugins)
        return _last(next(Path(place).glob("runs/digits-*/events.jsonl"))) | (twin or {})


def _last(events: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "epoch_completed":
            data = event["data"]
            found |= {f"{data['host']} {it}": data["validation"][it] for it in ("loss", "accuracy")}
    return found


# -------------------------------------------------------------------------------------------------------------- report


@frozen(kw_only=True)
class Compared:
    """Gains over the bare host at the end, of every schedule (rows) with every random seed (columns), (n, R).

    Attributes:
        kind: what is gained: ``loss``, in nats, or ``accuracy``.
        real, predicted: the gains.
    """

    kind: str
    real: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]

    def rank_correlation(self, rows: Sequence[int] | None = None) -> float:
        """Return the mean over the random seeds of Spearman's correlation over schedules."""
        here = np.arange(len(self.real)) if rows is None else np.asarray(rows)
        columns = range(self.real.shape[1])
        return float(np.mean([spearman(self.real[here, it], self.predicted[here, it]) for it in columns]))

    def of_means(self) -> "Compared":
        """Return the same of means over the random seeds: one column."""
        return Compared(
            kind=self.kind, real=self.real.mean(1, keepdims=True), predicted=self.predicted.mean(1, keepdims=True)
        )

    def interval(self, random: np.random.Generator) -> tuple[float, float]:
        """Return the 95 % percentile bootstrap interval of the rank correlation; schedules are drawn."""
        count = len(self.real)
        found = [self.rank_correlation(random.integers(0, count, count)) for _ in range(RESAMPLES)]
        return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))

    def error(self, rows: Sequence[int]) -> float:
        """Return the root mean square of the differences of gains."""
        return float(np.sqrt(np.mean((self.real[rows] - self.predicted[rows]) ** 2)))


def spearman(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Return the correlation of ranks, those of equal figures averaged; 0 where one of them never varies."""
    a, b = _ranks(first), _ranks(second)
    spread = float(a.std() * b.std())
    return 0.0 if spread == 0.0 else float(((a - a.mean()) * (b - b.mean())).mean() / spread)


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[index])


def predictions(table: GrowthTable, seeds: Sequence[int], plan: Sequence[Schedule], ramp: tuple[float, ...]) -> Any:
    """Return what the table of each random seed predicts: gains in loss and in accuracy, (2, n, R)."""
    found = np.zeros((2, len(plan), len(seeds)))
    for column, seed in enumerate(seeds):
        model = GrowthModel(table.of_seed(table.seeds.index(seed)), ramp=ramp)
        last = followed([*plan, ()], model)[0]
        found[0, :, column] = (last.loss[-1] - last.loss)[:-1]
        found[1, :, column] = (last.accuracy - last.accuracy[-1])[:-1]
    return found


def ramps() -> Iterator[tuple[float, ...]]:
    """Ramps from 0 in isolation to a plateau: how long they take, and how high they come."""
    for length, top in product((1, 3, 5, 7, 9, 11), (0.2, 0.4, 0.6, 0.8, 1.0)):
        yield (0.0, *(top * age / length for age in range(length + 1)))


def report(out: Path) -> None:
    """Print the comparison."""
    table, lines = GrowthTable.read(), list(read(out))
    seeds = sorted({line["seed"] for line in lines})
    found = {(line["schedule"], line["seed"]): line for line in lines}
    whole = [it for it in sorted({number for number, _ in found}) if all((it, seed) in found for seed in seeds)]
    plan = [schedules(max(whole) + 1, table)[it] for it in whole]

    def real(kind: str, sign: int) -> Any:
        rows = [[found[it, seed] for seed in seeds] for it in whole]
        return np.array([[sign * (it[f"grown {kind}"] - it[f"twin {kind}"]) for it in row] for row in rows])

    def compared(ramp: tuple[float, ...]) -> list[Compared]:
        said = predictions(table, seeds, plan, ramp)
        kinds = (("loss", -1), ("accuracy", 1))
        return [Compared(kind=kind, real=real(kind, sign), predicted=said[i]) for i, (kind, sign) in enumerate(kinds)]

    print(f"{len(whole)} schedules, {len(seeds)} random seeds: {len(whole) * len(seeds)} runs")
    random = np.random.default_rng(0)
    for it in compared(RAMP):
        for what, part in (("with one random seed", it), ("of means over them", it.of_means())):
            low, high = part.interval(random)
            rank = part.rank_correlation()
            print(f"gain in {it.kind}, {what}: rank correlation {rank:.2f} ({low:.2f} to {high:.2f})", flush=True)
    _calibrate(compared, len(whole))


def _calibrate(compared: Callable[[tuple[float, ...]], list[Compared]], count: int) -> None:
    """Print the ramp with the smallest error in the gain in loss on half of the schedules, and the rest's figures."""
    fitted, held = np.arange(0, count, 2), np.arange(1, count, 2)
    best = min(ramps(), key=lambda ramp: compared(ramp)[0].error(fitted))
    for name, ramp in (("measured", RAMP), ("fitted", best)):
        loss, accuracy = compared(ramp)
        print(
            f"ramp {name} {tuple(round(it, 2) for it in ramp)}: on the other half rank correlation"
            f" {loss.of_means().rank_correlation(held):.2f} (loss), {accuracy.of_means().rank_correlation(held):.2f}"
            f" (accuracy), error {loss.error(held):.3f} nats; never growing {rms(loss.real[held]):.3f}"
        )


def rms(values: Iterable[Any]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(values)))))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--schedules", type=int, default=40)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first schedule")
    parser.add_argument("--seeds", default="0-2")
    given = parser.parse_args()
    if given.command == "report":
        report(given.file)
        return
    first, _, last = given.seeds.partition("-")
    run(given.file, given.first, given.schedules, range(int(first), int(last or first) + 1))


if __name__ == "__main__":
    main()
