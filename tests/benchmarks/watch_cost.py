"""What screens and lists of long logs and many runs cost: ``python tests/benchmarks/watch_cost.py RUN``.

`esper runs` lists 1,000 copies of RUN, which should be over, in a process of its own. Then the events of RUN are
repeated until there are 100,000 of them, and `esper watch` opens that log: the seconds until what its end says is on
the screen, and until all of it has been read. CPU time is that of the process; wall time depends on what else the
machine does.
"""

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

EVENTS, RUNS = 100_000, 1_000


def main() -> None:
    source = Path(sys.argv[1])
    with TemporaryDirectory() as place:
        runs = Path(place) / "runs"
        for number in range(RUNS):
            shutil.copytree(source, runs / f"run-{number}", ignore=shutil.ignore_patterns("checkpoints", ".lock"))
        for _ in range(3):
            listed(runs)
        long = Path(place) / "long" / source.name
        long.mkdir(parents=True)
        shutil.copy(source / "manifest.json", long)
        with (long / "events.jsonl").open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in repeated(source))
        print(f"the log has {(long / 'events.jsonl').stat().st_size / 1e6:.0f} MB")
        asyncio.run(opened(long))


def listed(runs: Path) -> None:
    """List the runs, start of Python included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "esper_app.cli", "runs", "--runs", str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"esper runs, {RUNS} runs: {time.perf_counter() - began:.2f} s, {cpu:.2f} s of CPU")


def repeated(source: Path) -> Iterator[dict[str, Any]]:
    """Epochs, seeds and numbers go on where they ended."""
    first, *body, _ = [json.loads(line) for line in (source / "events.jsonl").read_text().splitlines()]
    epochs = 1 + max(event["epoch"] for event in body if event["epoch"] is not None)
    yield first
    for sequence in range(1, EVENTS):
        turn, index = divmod(sequence - 1, len(body))
        event = json.loads(json.dumps(body[index])) | {"sequence": sequence}
        data = event["data"]
        if event["epoch"] is not None:
            event["epoch"] += turn * epochs
        for holder in (data, *data.get("seeds", ())):
            if "seed_id" in holder:
                holder["seed_id"] = f"{holder['seed_id']}-{turn}"
        yield event


async def opened(path: Path) -> None:
    """Open the log, as somebody does who waits for the screen."""
    from esper_app_watch.app import WatchApp
    from esper_runs.run_directory import find_run

    began, spent = time.perf_counter(), time.process_time()
    app, first, slowest = WatchApp([find_run(path)], path.parent), "", 0.0
    async with app.run_test(size=(100, 40)) as pilot:
        while not (app.states[0].count and not app.states[0].left):
            before = time.perf_counter()
            await pilot.pause()
            slowest = max(slowest, time.perf_counter() - before)
            if not first and app.screen.query_one("#run-text").size.height > 5:
                first = f"{time.perf_counter() - began:.2f} s, {time.process_time() - spent:.2f} s of CPU"
        everything = f"{time.perf_counter() - began:.2f} s, {time.process_time() - spent:.2f} s of CPU"
    print(f"esper watch, {EVENTS:,} events: its end after {first}; all of it after {everything}")
    print(f"the screen answered within {slowest:.2f} s; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
