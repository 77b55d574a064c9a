"""A training in a user's own loop on a bus: a sink to hand to `grow`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from esper_core.leyline.events import Event
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.registry import Registry
from esper_messaging.run_messages import MANIFEST_KEY, RunMessages
from esper_oona.api import find_bus, open_bus


class BusSink:
    """Puts what sinks are told on a bus: telemetry, commands with their verdicts, and emergencies.

    What is kept and what is counted while the bus does not answer is as for a run on a bus, and training never waits.
    State packets and field reports are of runs: no sink is told how each host stands, or what a policy has learned.

    >>> handle = grow(model, optimizer=optimizer, epochs=15, sinks=["console", BusSink("sqlite:")])

    Args:
        address: of the bus, such as ``sqlite:`` or ``redis://localhost``.
        run_id: tells this training from any other. Give the same one where a training goes on, and what it says a
            second time is refused as a replay; None: a new one.
        registry: the loaded plugins; None: all that are installed.

    Attributes:
        outcome: what became of all messages, once the sink is closed.

    Raises:
        EsperError: E204 if no plugin has such an address, E201 or E202 if an option in it does not fit, E612 if there
            are no keys, E614 if the bus keeps less than it was asked to. A bus that does not answer is no error.
    """

    def __init__(self, address: str, *, run_id: str | None = None, registry: Registry | None = None) -> None:
        found = load_plugins().registry if registry is None else registry
        named = find_bus(address, found).spec.name
        self._run_id = run_id or uuid4().hex
        outbox_of = address.partition("?")[0]
        # Devices stand in states alone.
        self._messages = RunMessages(
            lambda: open_bus(address, found), name=named, address=outbox_of, device=lambda host: "cpu"
        )
        self.outcome: Mapping[str, Any] = {}

    def connect(self, tell: Callable[[Event], None]) -> None:
        """Learn where notices go."""
        self._messages.sink.connect(tell)

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a training, or go on with one."""
        self._messages.sink.open({**manifest, MANIFEST_KEY: {"run_id": self._run_id}})

    def emit(self, events: Sequence[Event]) -> None:
        """Publish events."""
        for event in events:
            self._messages.hear(event)
        self._messages.sink.emit(events)

    def flush(self) -> None:
        """Write down what must not be lost. What is on its way to the bus is not waited for."""
        self._messages.sink.flush()

    def close(self) -> None:
        """Give a bus that answers a few seconds for what is left."""
        self.outcome = self._messages.close() or self.outcome
