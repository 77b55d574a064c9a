"""What many hosts at once cost: `python tests/benchmarks/many_hosts.py`.

Printed are: how long a worker takes to start (CPU time of the worker, and wall time), the private memory of each host,
what a captured state costs beside an epoch, and the throughput of several hosts in worker processes against the
same hosts one after the other. Both are run in turn; throughput is in samples per second of wall time and of CPU time.
On a machine that is busy with other things only the latter says something: divided by the processors that are free it
is the bound of the former.
"""

import argparse
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

from esper_app.api import Selection, load_plugins, resolve_run
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.host_builder import RunHostBuilder
from esper_core.api import Action, Blend, HostReport, Op
from esper_executor_processes.executor import ProcessesExecutor
from esper_executor_processes.messages import dumps

#: The page size and the clock of /proc.
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def private_mib(pid: int) -> float:
    """Return the memory that a process shares with nobody, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def germinate(report: HostReport) -> list[Action]:
    """Put a seed into every slot that is empty."""
    return [
        Action(id=f"{report.host}/{slot}", op=Op.GERMINATE, slot=slot, blueprint=names[0], blend=Blend.LINEAR)
        for slot, names in ((slot, sorted(found)) for slot, found in report.masks.germinate.items())
        if names
    ]


def epoch(executor: Any, reports: Sequence[HostReport]) -> list[HostReport]:
    """Train every host for one epoch; in the first one seeds are germinated in all slots."""
    executor.apply([germinate(report) for report in reports])
    return executor.epoch([None] * len(reports))


def pids_of(executor: Any) -> list[int]:
    return executor.pool.pids() if isinstance(executor, ProcessesExecutor) else [os.getpid()]


def measure_start(assembly: Assembly, builder: RunHostBuilder) -> None:
    """How long it takes until a worker has built its host, once the forkserver is there."""
    began = perf_counter()
    first = assembly.executor(builder)
    first.open([assembly.plan("first")])
    server = perf_counter() - began
    first.close()
    walls, busy, private = [], [], []
    for count in (1, 2, 4, 8):
        executor = assembly.executor(builder)
        executor.pool.config = type(executor.pool.config)(workers=count)
        executor.pool.open([assembly.plan("host")] * count)
        began = perf_counter()
        reports = executor.open([assembly.plan(f"host{index}", index) for index in range(count)])
        walls.append((perf_counter() - began) / count)
        busy += [cpu_seconds(pid) for pid in pids_of(executor)]
        for _ in range(3):
            reports = epoch(executor, reports)
        private += [private_mib(pid) for pid in pids_of(executor)]
        executor.close()
    print(f"the first worker, forkserver and preloading included: {server:.2f} s of wall time")
    print(
        f"a worker until its host is built: {median(busy):.2f} s of CPU time, {min(walls):.2f} s of wall time at best"
    )
    print(
        f"private memory of a worker with a host after 3 epochs: {median(private):.0f} MiB (at most {max(private):.0f})"
    )


def measure_capture(assembly: Assembly, builder: RunHostBuilder, epochs: int) -> None:
    """What a captured state costs beside an epoch."""
    host = builder(assembly.plan("grown"))
    trained, captured = [], []
    for number in range(epochs):
        for action in germinate(host.report()) if number == 0 else []:
            host.apply(action)
        began = process_time()
        host.epoch(None)
        between = process_time()
        state = dumps(host.capture())
        trained.append(between - began)
        captured.append(process_time() - between)
    share = 100 * median(captured) / median(trained)
    print(f"a captured state: {len(state) / 1024:.0f} KiB, {1000 * median(captured):.1f} ms, {share:.1f} % of an epoch")


def measure_memory_of_hosts(assembly: Assembly, builder: RunHostBuilder) -> None:
    """What each further host in the same worker takes."""
    executor = assembly.executor(builder)
    executor.pool.config = type(executor.pool.config)(workers=1)
    found = []
    for count in (1, 5):
        other = executor.sibling()
        reports = other.open([assembly.plan(f"host{count}-{index}", index) for index in range(count)])
        for _ in range(3):
            reports = epoch(other, reports)
        found.append(private_mib(executor.pool.pids()[0]))
    print(f"private memory of a further host in the same worker: {(found[1] - found[0]) / 5:.1f} MiB")
    executor.pool.close()


def measure_throughput(serial: Assembly, processes: Assembly, builder: RunHostBuilder, hosts: int, rounds: int) -> None:
    """The same hosts with both executors, in turn."""
    executors = {"serial": serial.executor(builder), "processes": processes.executor(builder)}
    plans = [serial.plan(f"host{index}", index) for index in range(hosts)]
    reports = {name: executor.open(plans) for name, executor in executors.items()}
    walls: dict[str, list[float]] = {name: [] for name in executors}
    busy: dict[str, list[float]] = {name: [] for name in executors}
    for number in range(rounds + 1):
        for name, executor in executors.items():
            before, began = sum(map(cpu_seconds, pids_of(executor))), perf_counter()
            reports[name] = epoch(executor, reports[name])
            if number:  # the first epoch has no seeds in TRAINING yet, and caches to fill
                walls[name].append(perf_counter() - began)
                busy[name].append(sum(map(cpu_seconds, pids_of(executor))) - before)
    samples = hosts * len(serial.splits.train.targets)
    for name in executors:
        wall, cpu = samples / median(walls[name]), samples / median(busy[name])
        print(f"{name}: {wall:,.0f} samples/s of wall time, {cpu:,.0f} of CPU time")
    ratios = sorted(a / b for a, b in zip(walls["serial"], walls["processes"], strict=True))
    cpu = median(a / b for a, b in zip(busy["serial"], busy["processes"], strict=True))
    print(f"processes over serial: wall {median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}], CPU {cpu:.2f}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for executor in executors.values():
        executor.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--set", action="append", default=[], help="a setting, as for esper run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plugins = load_plugins(Selection())
    made = {}
    for name in ("serial", "processes"):
        sets = (f"executor.name={name}", f"epochs={options.rounds + 4}", *options.set)
        made[name] = assemble(resolve_run(options.task, plugins, sets=sets).config, plugins)
    builder = RunHostBuilder.of(plugins, made["processes"])
    measure_start(made["processes"], builder)
    measure_memory_of_hosts(made["processes"], builder)
    measure_capture(made["serial"], RunHostBuilder.of(plugins, made["serial"]), options.rounds)
    measure_throughput(made["serial"], made["processes"], builder, options.hosts, options.rounds)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
