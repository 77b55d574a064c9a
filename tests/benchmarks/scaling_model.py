"""What a run of many hosts costs, predicted from runs of one and three: `python tests/benchmarks/scaling_model.py`.

    calibrate   measure one and three hosts here, and write the figures down (--figures FILE)
    predict     the table for 10 to 10,000 hosts, from those figures
    measure     run 4, 8 and 16 hosts here, and hold them against what was predicted

The model: in an epoch every worker trains its hosts one after the other; the run's process then takes in what they
report, decides, and says what is to be done; nobody begins the next epoch before. With T seconds for a host's epoch (of
a lognormal distribution, whose spread is measured), W workers and H hosts an epoch lasts

    max over workers of the sum of its hosts' T   +   H * coordination   +   fixed

Everything that one process does for all (coordination, events, reports on the bus, checkpoints) grows with H, and what
is divided among workers does not: where the two meet stands the first bottleneck. It is falsifiable: `measure` fails
where an epoch of 4, 8 or 16 hosts is not within 30 % of what was predicted. Measure on an idle machine.
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
WITHIN = 0.3
EPOCHS = 30


@frozen
class Figures:
    """What was measured of one and three hosts.

    Attributes:
        epoch: seconds of a host's epoch, the median.
        spread: standard deviation of its logarithm.
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
        seconds: how long it lasts.
        waiting: share of the workers' time in which they wait for the slowest, or for the run's process.
        coordinating: share of the time in which the run's process is at work.
        events, messages: a second.
        saved: MB a second, with a checkpoint every ten seconds.
        bottleneck: what limits it first.
    """

    seconds: float
    waiting: float
    coordinating: float
    events: float
    messages: float
    saved: float
    bottleneck: str


def simulate(figures: Figures, hosts: int, workers: int, *, epochs: int = 200, seed: int = 0) -> Prediction:
    """Simulate some epochs of `hosts` on `workers`."""
    chance = random.Random(seed)
    trained, lasting = 0.0, 0.0
    for _ in range(epochs):
        loads = [0.0] * workers
        for host in range(hosts):
            loads[host % workers] += figures.epoch * chance.lognormvariate(0.0, figures.spread)
        trained += sum(loads)
        lasting += max(loads) + hosts * figures.coordination + figures.fixed
    seconds = lasting / epochs
    alone = hosts * figures.coordination + figures.fixed
    events = hosts * figures.events / seconds
    uses = {
        "the run's process": alone / seconds,
        "events": events / EVENTS_A_SECOND,
        "the bus": hosts / seconds * MESSAGE_US * 1e-6,
        "workers": trained / (lasting * workers),
    }
    return Prediction(
        seconds=seconds,
        waiting=1.0 - trained / (lasting * workers),
        coordinating=alone / seconds,
        events=events,
        messages=hosts / seconds,
        saved=hosts * figures.state / 1e6 / max(10.0, seconds),
        bottleneck=max(uses, key=uses.__getitem__),
    )


def run(hosts: int, executor: str, folder: Path, workers: int | None = None) -> list[dict]:
    """Run `hosts` on digits without twins, and return the events."""
    settings = {
        "epochs": EPOCHS,
        "hosts": hosts,
        "twin": "none",
        "sinks.names": '["jsonl"]',
        "name": f"{hosts}-{executor}",
    }
    settings |= {"executor.name": executor} | ({} if workers is None else {"executor.workers": workers})
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    subprocess.run(
        [sys.executable, "-m", "esper_app.cli", "run", "digits", *words], cwd=folder, check=True, capture_output=True
    )
    written = folder / "runs" / settings["name"] / "events.jsonl"
    return [json.loads(line) for line in written.read_text().splitlines()]


def epochs_of(events: list[dict]) -> list[dict]:
    """Return the events that end a host's epoch, without those of the first epoch, in which everything is loaded."""
    return [it for it in events if it["kind"] == "epoch_completed" and it["epoch"] > 0]


def seconds_of(event: dict) -> float:
    """Return how long a host has worked on its epoch."""
    return event["data"]["train"]["seconds"] + event["data"]["validation"]["seconds"]


def lasting(events: list[dict]) -> list[float]:
    """Return how long each epoch of the run lasts, in seconds, but for the first two."""
    ends: dict[int, float] = {}
    for event in epochs_of(events):
        ends[event["epoch"]] = max(ends.get(event["epoch"], 0.0), event["monotonic"])
    return [ends[epoch] - ends[epoch - 1] for epoch in sorted(ends) if epoch - 1 in ends]


def beside(events: list[dict]) -> float:
    """Return what the run's process takes in an epoch beside its hosts, in seconds."""
    worked: dict[int, float] = {}
    for event in epochs_of(events):
        worked[event["epoch"]] = worked.get(event["epoch"], 0.0) + seconds_of(event)
    taken = [whole - worked[epoch] for epoch, whole in zip(sorted(worked)[1:], lasting(events), strict=True)]
    return max(0.0, statistics.median(taken))


def calibrate(folder: Path) -> Figures:
    """Measure one and three hosts, one after the other in one process."""
    one, three = run(1, "serial", folder), run(3, "serial", folder)
    worked = [seconds_of(it) for events in (one, three) for it in epochs_of(events)]
    epoch = statistics.median(worked)
    logs = [log(seconds / epoch) for seconds in worked]
    coordination = max(0.0, (beside(three) - beside(one)) / 2)
    states = [*(folder / "runs" / "3-serial" / "checkpoints").glob("epoch-*.safetensors")]
    low, *_, high = statistics.quantiles(logs, n=6)  # two thirds lie between them: one standard deviation to each side
    return Figures(
        epoch=epoch,
        spread=max(0.01, (high - low) / 2),
        coordination=coordination,
        fixed=max(0.0, beside(one) - coordination),
        events=len(three) / (3 * EPOCHS),
        state=statistics.median(path.stat().st_size for path in states) / 3,
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
            f"| {hosts:,} | {used:,} | {it.seconds:.2f} s | {it.waiting:.0%} | {it.coordinating:.0%} "
            f"| {it.events:,.0f} | {it.messages:,.0f} | {it.saved:.2f} MB/s | {it.bottleneck} |"
        )
    return "\n".join(lines)


def measure(figures: Figures, folder: Path, workers: int) -> bool:
    """Hold runs of 4, 8 and 16 hosts against what is predicted; say whether all were near enough."""
    near = True
    for hosts in MEASURED:
        expected = simulate(figures, hosts, min(workers, hosts)).seconds
        found = statistics.median(lasting(run(hosts, "processes", folder, workers)))
        off = found / expected - 1
        near &= abs(off) <= WITHIN
        print(f"{hosts} hosts in {workers} workers: {found:.3f} s an epoch, {expected:.3f} s predicted ({off:+.0%})")
    return near


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["calibrate", "predict", "measure"])
    parser.add_argument("--figures", type=Path, default=Path("scaling-figures.json"))
    parser.add_argument("--workers", type=int, default=None, help="workers (predict: 64; measure: 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.command == "calibrate":
            options.figures.write_text(json.dumps(asdict(calibrate(Path(name))), indent=1) + "\n")
            print(options.figures.read_text())
            return
        figures = Figures(**json.loads(options.figures.read_text()))
        if options.command == "predict":
            print(table(figures, options.workers or 64))
        elif not measure(figures, Path(name), options.workers or 2):
            sys.exit("the model is wrong here")


if __name__ == "__main__":
    main()
