"""What a run of many hosts costs, predicted from runs of few: `python tests/benchmarks/scaling_model.py`.

    calibrate   measure one and three hosts in each worker here, and write the figures down (--figures FILE)
    predict     the table for 10 to 10,000 hosts, from those figures
    measure     run 4, 8 and 16 hosts here, and hold them against what was predicted

The model: in an epoch every worker trains its hosts one after the other; the run's process then takes in what they
report, decides, and says what is to be done; nobody begins the next epoch before. With T seconds for a host's epoch (of
a lognormal distribution, whose spread among the hosts of an epoch is measured), W workers and H hosts an epoch lasts

    max over workers of the sum of its hosts' T   +   H * coordination   +   fixed

Everything that one process does for all (coordination, events, reports on the bus, checkpoints) grows with H, and what
is divided among workers does not: where the two meet stands the first bottleneck. T is measured where all workers are
busy, because they share what a machine has, and with all that a worker does: what is measured of seeds belongs to it,
and not to coordination. It is falsifiable: `measure` fails where the median epoch of 4, 8 or 16 hosts is not within
20 % of the median that was predicted. Calibrate and measure on an idle machine, with the same workers.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from math import log
from pathlib import Path

from attrs import asdict, frozen

#: Microseconds for a message on a bus of Redis: make, publish, take and handle it (docs/measurements.md).
MESSAGE_US = 130.0
#: Events a second that the hub takes, and bytes of an event in the log (docs/measurements.md).
EVENTS_A_SECOND, EVENT_BYTES = 50_000, 1_850
HOSTS = (10, 30, 100, 300, 1_000, 3_000, 10_000)
MEASURED = (4, 8, 16)
WITHIN = 0.2
EPOCHS = 30


@frozen
class Figures:
    """What was measured of one and three hosts in each worker.

    Attributes:
        epoch: seconds of a host's epoch in a worker while the others are busy too, the median.
        spread: standard deviation of its logarithm among the hosts of an epoch.
        coordination: seconds of the run's process for a host's epoch.
        fixed: seconds of the run's process for an epoch, however many hosts there are.
        events: of a host in an epoch.
        state: bytes of a host in a checkpoint.
    """

    epoch: float
    spread: float
    coordination: float
    fixed: float
    events: float
    state: float


@frozen
class Prediction:
    """An epoch of a run.

    Attributes:
        seconds: how long it lasts, on average.
        typical: the median of that.
        waiting: share of the workers' time in which they wait for the slowest, or for the run's process.
        coordinating: share of the time in which the run's process is at work.
        events, messages: a second.
        saved: MB a second, with a checkpoint every ten seconds.
        bottleneck: what limits it first.
    """

    seconds: float
    typical: float
    waiting: float
    coordinating: float
    events: float
    messages: float
    saved: float
    bottleneck: str


def simulate(figures: Figures, hosts: int, workers: int, *, epochs: int = 200, seed: int = 0) -> Prediction:
    """Simulate some epochs of `hosts` on `workers`."""
    chance = random.Random(seed)
    trained, lasted = 0.0, []
    for _ in range(epochs):
        loads = [0.0] * workers
        for host in range(hosts):
            loads[host % workers] += figures.epoch * chance.lognormvariate(0.0, figures.spread)
        trained += sum(loads)
        lasted.append(max(loads) + hosts * figures.coordination + figures.fixed)
    seconds = statistics.fmean(lasted)
    working = trained / (sum(lasted) * workers)
    alone = hosts * figures.coordination + figures.fixed
    events = hosts * figures.events / seconds
    uses = {
        "the run's process": alone / seconds,
        "events": events / EVENTS_A_SECOND,
        "the bus": hosts / seconds * MESSAGE_US * 1e-6,
        "workers": working,
    }
    return Prediction(
        seconds=seconds,
        typical=statistics.median(lasted),
        waiting=1.0 - working,
        coordinating=alone / seconds,
        events=events,
        messages=hosts / seconds,
        saved=hosts * figures.state / 1e6 / max(10.0, seconds),
        bottleneck=max(uses, key=uses.__getitem__),
    )


@frozen
class Measured:
    """A run that is over.

    Attributes:
        events: what it has said.
        beside: seconds of a host's epoch that its events leave out, by host: what is measured of its seeds.
        state: bytes of a host in a checkpoint.
    """

    events: list[dict]
    beside: dict[str, float]
    state: float


def run(hosts: int, folder: Path, workers: int) -> Measured:
    """Run `hosts` on digits in some workers, without twins."""
    settings = {
        "epochs": EPOCHS,
        "hosts": hosts,
        "twin": "none",
        "sinks.names": '["jsonl"]',
        "name": f"hosts-{hosts}",
        "executor.name": "processes",
        "executor.workers": workers,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    subprocess.run(
        [sys.executable, "-m", "esper_app.cli", "run", "digits", *words], cwd=folder, check=True, capture_output=True
    )
    directory = folder / "runs" / settings["name"]
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    told: dict[str, float] = {}
    for event in events:
        if event["kind"] == "epoch_completed":
            told[event["host"]] = told.get(event["host"], 0.0) + seconds_of(event)
    finals = json.loads((directory / "result.json").read_text())["hosts"]
    taken = {name: final["train_seconds"] + final["measure_seconds"] for name, final in finals.items()}
    states = [*(directory / "checkpoints").glob("epoch-*.safetensors")]
    return Measured(
        events,
        beside={name: (taken[name] - seconds) / EPOCHS for name, seconds in told.items()},
        state=statistics.median(path.stat().st_size for path in states) / hosts,
    )


def seconds_of(event: dict) -> float:
    """Return how long a host has trained and been measured in its epoch."""
    return event["data"]["train"]["seconds"] + event["data"]["validation"]["seconds"]


def worked(measured: Measured) -> list[list[float]]:
    """Return how long each host has worked on each epoch, hosts in order; without the first epoch, which loads all."""
    found: dict[int, dict[str, float]] = {}
    for event in measured.events:
        if event["kind"] == "epoch_completed" and event["epoch"] > 0:
            seconds = seconds_of(event) + measured.beside[event["host"]]
            found.setdefault(event["epoch"], {})[event["host"]] = seconds
    order = sorted(measured.beside, key=lambda name: int(name.rpartition("-")[2]))
    return [[found[epoch][name] for name in order] for epoch in sorted(found)]


def lasting(measured: Measured) -> list[float]:
    """Return how long each epoch of the run lasts, in seconds, but for the first two."""
    ends: dict[int, float] = {}
    for event in measured.events:
        if event["kind"] == "epoch_completed" and event["epoch"] > 0:
            ends[event["epoch"]] = max(ends.get(event["epoch"], 0.0), event["monotonic"])
    return [ends[epoch] - ends[epoch - 1] for epoch in sorted(ends) if epoch - 1 in ends]


def alone(measured: Measured, workers: int) -> float:
    """Return what an epoch lasts beside the work of the slowest worker, in seconds: the run's process is at it then."""
    left = [
        whole - max(sum(hosts[place::workers]) for place in range(workers))
        for hosts, whole in zip(worked(measured)[1:], lasting(measured), strict=True)
    ]
    return max(0.0, statistics.median(left))


def calibrate(folder: Path, workers: int) -> Figures:
    """Measure one and three hosts in each worker."""
    few, more = run(workers, folder, workers), run(3 * workers, folder, workers)
    epochs = worked(more)
    coordination = max(0.0, (alone(more, workers) - alone(few, workers)) / (2 * workers))
    logs = [log(seconds / statistics.median(hosts)) for hosts in epochs for seconds in hosts]
    low, *_, high = statistics.quantiles(logs, n=6)  # two thirds lie between them: one standard deviation to each side
    return Figures(
        epoch=statistics.median(statistics.median(hosts) for hosts in epochs),
        spread=max(0.01, (high - low) / 2),
        coordination=coordination,
        fixed=max(0.0, alone(few, workers) - workers * coordination),
        events=len(more.events) / (3 * workers * EPOCHS),
        state=more.state,
    )


def table(figures: Figures, workers: int) -> str:
    """Return the predictions as a table of Markdown."""
    lines = [
        "| hosts | workers | an epoch | workers wait | run's process | events/s | reports/s | saved | most used |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for hosts in HOSTS:
        used = min(workers, hosts)
        it = simulate(figures, hosts, used, epochs=max(2, 20_000 // hosts))
        lines.append(
            f"| {hosts:,} | {used:,} | {it.seconds:.2f} s | {100 * it.waiting:.0f} % | {100 * it.coordinating:.0f} % "
            f"| {it.events:,.0f} | {it.messages:,.0f} | {it.saved:.2f} MB/s | {it.bottleneck} |"
        )
    return "\n".join(lines)


def measure(figures: Figures, folder: Path, workers: int) -> bool:
    """Hold runs of 4, 8 and 16 hosts against what is predicted; say whether all were near enough."""
    near = True
    for hosts in MEASURED:
        expected = simulate(figures, hosts, min(workers, hosts)).typical
        found = statistics.median(lasting(run(hosts, folder, workers)))
        off = found / expected - 1
        near, wrong = near and abs(off) <= WITHIN, 100 * off
        print(f"{hosts} hosts in {workers} workers: {found:.3f} s an epoch, {expected:.3f} s expected ({wrong:+.0f} %)")
    return near


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["calibrate", "predict", "measure"])
    parser.add_argument("--figures", type=Path, default=Path("scaling-figures.json"))
    parser.add_argument("--workers", type=int, default=None, help="workers (predict: 64; else: 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.command == "calibrate":
            options.figures.write_text(json.dumps(asdict(calibrate(Path(name), options.workers or 2)), indent=1) + "\n")
            print(options.figures.read_text())
            return
        figures = Figures(**json.loads(options.figures.read_text()))
        if options.command == "predict":
            print(table(figures, options.workers or 64))
        elif not measure(figures, Path(name), options.workers or 2):
            sys.exit("the model is wrong here")


if __name__ == "__main__":
    main()
