"""How many messages a second go through a bus, and how long they take: ``python tests/benchmarks/bus_throughput.py``.

One process publishes signed messages of 500 bytes in batches of 100, at a given rate; another one verifies, handles and
acknowledges them. Beside it, the same bytes through a bare loop of redis-py (XADD in pipelines, XREADGROUP, XACK) with
neither envelopes nor signatures, order by key, attempts or replays. CPU time is that of both processes, without the
server.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import redis

from esper_bus_redis.bus import RedisBus, RedisConfig
from esper_bus_redis.server import RedisServer
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_oona.api import Draft, Keyring, MessageType, Publisher, Replays, Signer, Stream, Subscriber

BATCH, BYTES = 100, 500
SIGNER = Signer(Keyring({"bench": b"k" * 32}))


def paced(batches, rate, send):
    """Send batches at a rate of messages per second; 0 is as fast as it goes."""
    begun = time.monotonic()
    for index in range(batches):
        if rate:
            time.sleep(max(0.0, begun + index * BATCH / rate - time.monotonic()))
        send(index)


def publish(make, batches, rate, _):
    publisher = Publisher(make(), SIGNER)
    payload = bytes(BYTES)

    def send(index):
        publisher.publish(
            [Draft(type=MessageType.TELEMETRY, payload=payload, key=f"k{(index + it) % 50}") for it in range(BATCH)]
        )

    paced(batches, rate, send)


def handle(make, batches, _, folder):
    count = [0]

    def note(_):
        count[0] += 1

    handlers = {MessageType.TELEMETRY: note}
    replays = Replays(Path(folder) / "replays.sqlite")
    subscriber = Subscriber(make(), Stream.TELEMETRY, "g", "c", handlers, signer=SIGNER, replays=replays)
    while count[0] < batches * BATCH:
        subscriber.poll() or time.sleep(0.002)
    return subscriber.metrics.quantile("delivery_seconds", 0.5), subscriber.metrics.quantile("delivery_seconds", 0.99)


def bare_publish(url, batches, rate, _):
    client = redis.Redis.from_url(url, protocol=2)

    def send(_):
        pipeline = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd("bare", {"body": b"%017.6f" % time.time() + bytes(BYTES - 17)})
        pipeline.execute()

    paced(batches, rate, send)


def bare_handle(url, batches, _, __):
    client, delays = redis.Redis.from_url(url, protocol=2), []
    while len(delays) < batches * BATCH:
        found = client.xreadgroup("g", "c", {"bare": ">"}, count=BATCH)
        entries = found[0][1] if found else []
        delays += [time.time() - float(fields[b"body"][:17]) for _, fields in entries]
        if entries:
            client.xack("bare", "g", *(id for id, _ in entries))
        else:
            time.sleep(0.002)
    delays.sort()
    return delays[len(delays) // 2], delays[len(delays) * 99 // 100]


def _timed(work, results, ready, *args):
    ready.wait()
    before = sum(os.times()[:2])
    found = work(*args)
    results.put((found, sum(os.times()[:2]) - before))


def measure(name, writer, reader, target, batches, rate, folder):
    context = multiprocessing.get_context("spawn")
    results, ready = context.Queue(), context.Barrier(3)
    processes = [
        context.Process(target=_timed, args=(it, results, ready, target, batches, rate, folder))
        for it in (reader, writer)
    ]
    for process in processes:
        process.start()
    ready.wait()
    begun = time.monotonic()
    found = [results.get() for _ in processes]
    seconds = time.monotonic() - begun
    for process in processes:
        process.join()
    p50, p99 = next(it for it, _ in found if it is not None)
    cpu = sum(it for _, it in found) / (batches * BATCH) * 1e6
    print(f"{name:14} {batches * BATCH / seconds:8,.0f}/s  p50 {p50:.4f} s  p99 {p99:.4f} s  {cpu:6.1f} us of CPU each")


class Make:
    """Opens a bus in another process."""

    def __init__(self, kind, url):
        self.kind, self.url = kind, url

    def __call__(self):
        if self.kind == "redis":
            return RedisBus(RedisConfig(url=self.url))
        return sqlite_bus(SqliteConfig(url=self.url, survives=self.kind))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--messages", type=int, default=600_000)
    parser.add_argument("--rate", type=int, default=10_000, help="messages per second; 0: as fast as it goes")
    options = parser.parse_args()
    batches = options.messages // BATCH
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for level in ("server", "power"):
            make = Make(level, f"sqlite:{folder}/{level}.sqlite")
            (folder / level).mkdir()
            measure(f"sqlite {level}", publish, handle, make, batches, options.rate, str(folder / level))
        for flush in ("no", "always"):
            place = folder / flush
            place.mkdir()
            server = RedisServer(place, appendfsync=flush)
            server.start()
            try:
                make = Make("redis", server.url)
                measure(f"redis {flush}", publish, handle, make, batches, options.rate, str(place))
                url = f"unix://{server.socket}"
                redis.Redis.from_url(url).xgroup_create("bare", "g", "0", mkstream=True)
                measure(f"redis-py {flush}", bare_publish, bare_handle, url, batches, options.rate, "")
            finally:
                server.kill()


if __name__ == "__main__":
    main()
