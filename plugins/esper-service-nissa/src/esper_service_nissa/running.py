"""The process of Nissa: a consumer for metrics and alerts, one for each sink, and an HTTP server, until it is told."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from esper_app.api import PluginSet, build_component
from esper_core.api import EsperError
from esper_core.specs import SinkSpec
from esper_messaging.reading import Handle, Reader
from esper_oona.api import Bus, Replays, Signer, Subscription, keyring
from esper_runs.run_directory import write_atomically
from esper_service_nissa.config import NissaConfig
from esper_service_nissa.ledger import Ledger
from esper_service_nissa.messages import CLASSES
from esper_service_nissa.observatory import Observatory
from esper_service_nissa.service import ADDRESS
from esper_service_nissa.sink_feed import SinkFeed
from esper_weatherlight.api import Http, HttpServer

#: The group of consumers that counts; those of sinks have the sink's name behind it.
GROUP = "nissa"

#: When it is told to end, what is on the bus by then is still taken, for at most so many seconds.
DRAIN_SECONDS = 10.0

#: A sink whose server is away is tried again for hours before a message becomes a dead letter.
_HOW = Subscription(idle_seconds=0.1, attempts=1000)


class Consumer:
    """Takes all messages in a thread of its own.

    Args:
        bus: where from.
        group: of this consumer.
        hear: is shown each record.
        state: the state directory.
    """

    def __init__(self, bus: Bus, group: str, hear: Handle, state: Path) -> None:
        self._stop = threading.Event()
        self._reader = Reader(
            bus,
            group,
            f"{group}-{uuid4().hex[:12]}",
            dict.fromkeys(CLASSES, hear),
            signer=Signer(keyring(state)),
            replays=Replays(state / "replays.sqlite"),
            subscription=_HOW,
        )
        self._thread = threading.Thread(target=self._work, name=group, daemon=True)
        self._thread.start()

    @property
    def degraded(self) -> bool:
        """The bus does not answer, or the thread has died."""
        figures = [it.metrics.figures() for it in self._reader.subscribers.values()]
        return not self._thread.is_alive() or any(it.degraded for it in figures)

    @property
    def handled(self) -> int:
        """How many messages it has handled."""
        return sum(it.metrics.value("handled") for it in self._reader.subscribers.values())

    def stop(self) -> None:
        """Take what is there, and end."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join(2 * DRAIN_SECONDS)

    def _work(self) -> None:
        end: float | None = None
        while end is None or monotonic() < end:
            if self._stop.is_set() and end is None:
                end = monotonic() + DRAIN_SECONDS
            try:
                found = self._reader.poll()
            except EsperError as error:
                if error.code != "E611":
                    raise
                found = 0
            if not found:
                if self._stop.is_set():
                    return
                self._stop.wait(_HOW.idle_seconds)


def run_nissa(
    bus: Bus, config: NissaConfig, plugins: PluginSet, state: Path, folder: Path, stop: threading.Event
) -> Mapping[str, float]:
    """Read a bus until told to stop, and then what is on it by then; return the last figures.

    Args:
        bus: the open bus.
        config: where metrics are offered, and which sinks are fed.
        plugins: the loaded plugins.
        state: the state directory.
        folder: for what must outlive the process, and for the file that says where it answers.
        stop: set from anywhere.

    Raises:
        EsperError: E202 if it cannot listen; E204, E201, E202 for a sink that cannot be built; E612 without keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "nissa.sqlite")
    observatory = Observatory(ledger, config.interval)
    feeds = [
        SinkFeed(name, _builder(name, options, plugins), ledger, folder / safe)
        for name, options in config.sinks.items()
        for safe in [name.replace("/", "-")]
    ]
    consumers: list[Consumer] = []
    server = HttpServer(
        Http(address=config.address, port=config.port),
        lambda path: _answer(path, observatory, lambda: _health(observatory, consumers, feeds)),
    )
    try:
        consumers += [Consumer(bus, GROUP, observatory.hear, state)]
        consumers += [Consumer(bus, f"{GROUP}-{it.name.replace('/', '-')}", it.hear, state) for it in feeds]
        write_atomically(folder / ADDRESS, json.dumps({"url": server.url}).encode())
        while not stop.wait(config.interval):
            observatory.look()
        for consumer in consumers:
            consumer.stop()
        for consumer in consumers:
            consumer.join()
        for feed in feeds:
            feed.close()
        return _figures(observatory, consumers)
    finally:
        server.close()
        ledger.close()


def _builder(name: str, options: Mapping[str, Any], plugins: PluginSet) -> Callable[[], Any]:
    def build() -> Any:
        return build_component(plugins.registry, SinkSpec.kind, name, options, where=f"sinks.{name}")

    build()  # so that what is wrong with it shows now
    return build


def _figures(observatory: Observatory, consumers: list[Consumer]) -> dict[str, float]:
    return {"messages": float(consumers[0].handled if consumers else 0), **observatory.figures()}


def _health(observatory: Observatory, consumers: list[Consumer], feeds: list[SinkFeed]) -> dict[str, Any]:
    figures = _figures(observatory, consumers)
    wrong = ["the bus does not answer"] if any(it.degraded for it in consumers) else []
    wrong += [f"the sink {it.name} does not take messages" for it in feeds if it.failing]
    said = f"{figures['messages']:g} messages, {figures['runs']:g} runs, {figures['alerts_firing']:g} alerts"
    return {
        "status": "degraded" if wrong else "healthy",
        "summary": "; ".join([said, *wrong]),
        "figures": figures,
    }


def _answer(path: str, observatory: Observatory, health: Callable[[], dict[str, Any]]) -> tuple[int, str, bytes]:
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest(observatory.registry)
    found = {"/health": health, "/alerts": observatory.alerts}.get(path)
    if found is None:
        return 404, "text/plain", b"Here are /health, /alerts and /metrics.\n"
    return 200, "application/json", json.dumps(found()).encode()
