"""How long looking an artifact up and verifying it takes: ``python tests/benchmarks/store_lookup.py``."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from esper_store_local.store import LocalStore
from esper_urza.testing.store_subject import inputs, signed_store

MEGABYTE = 1_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--artifacts", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for journal in ("wal", "delete"):
            measure(Path(folder) / journal, journal, arguments.artifacts, arguments.times)
    print(f"load average {os.getloadavg()[0]:.1f}")


def measure(folder, journal, artifacts, times):
    store = LocalStore(folder, max_bytes=1 << 30, ttl_days=9.0, journal=journal)
    signed = signed_store(store)
    made = [inputs() for _ in range(artifacts)]
    saves = [timed(lambda it=it: signed.save(it, os.urandom(MEGABYTE))) for it in made]
    store.close()
    signed = signed_store(LocalStore(folder, max_bytes=1 << 30, ttl_days=9.0, journal=journal))
    first_wall, _ = timed(lambda: signed.find(made[0]))
    finds = [timed(lambda it=it: signed.find(made[it % artifacts])) for it in range(times)]
    print(f"{journal}: first look-up {first_wall:.1f} ms")
    for name, pairs in (("save", saves), ("look-up", finds)):
        for what, values in zip(("wall", "CPU"), zip(*pairs, strict=True), strict=True):
            cuts = statistics.quantiles(values, n=20)
            print(f"{journal}: {name}, {what}: p50 {cuts[9]:.2f} ms, p95 {cuts[18]:.2f} ms")


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


if __name__ == "__main__":
    main()
