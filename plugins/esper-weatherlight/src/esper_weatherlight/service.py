"""What a service is: it says what to start, when it is ready, how it is, how it is stopped, and what its end means."""

import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from esper_core.plugins.registry import Registry
from esper_leyline_proto.telemetry import HealthStatus


@frozen(kw_only=True)
class Place:
    """Where a service is.

    Attributes:
        name: the service's on its machine.
        state: the state directory, absolute.
        folder: a folder for what the service keeps, in the state directory; it is there.
        bus: the address of the machine's bus.
        registry: the loaded plugins.
    """

    name: str
    state: Path
    folder: Path
    bus: str
    registry: Registry


@frozen(kw_only=True)
class Launch:
    """What to start.

    Attributes:
        command: the command line.
        environment: what the process has in its environment beside that of the supervisor.
        folder: where it works; None: where the supervisor does.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(factory=dict)
    folder: Path | None = None


class Ending(StrEnum):
    """What is done when a process has ended that nobody has stopped.

    Attributes:
        AGAIN: it is started again, if its budget allows.
        DONE: it was to end.
        HOPELESS: it would end the same way again; the service has failed.
    """

    AGAIN = "again"
    DONE = "done"
    HOPELESS = "hopeless"


@frozen(kw_only=True)
class Health:
    """How a service is.

    Attributes:
        status: in one word.
        summary: in words, such as ``epoch 3 of 20``; "": there is nothing to say.
        figures: numbers by name, such as ``epoch``.
    """

    status: HealthStatus = HealthStatus.HEALTHY
    summary: str = ""
    figures: Mapping[str, float] = field(factory=dict)


class Service(Protocol):
    """One service of a machine.

    `start`, `ready`, `health` and `runs` may take a while; they are called in a thread of the service's own, one at a
    time. `stop` and `ended`, and `health` of a service that is done, are called between two steps of the supervisor.
    What one raises counts as a failure of the service. Nothing is remembered in the object: the supervisor may be
    another one each time, and finds what the service has written into ``place.folder``.
    """

    def check(self, place: Place) -> None:
        """Look at its options. Asked once, before the first service of the machine is started.

        Raises:
            EsperError: for what is wrong in them, and would still be when it is started; then none is started.
        """

    def start(self, place: Place) -> Launch | None:
        """Return what to start now; None if the service has done what it was to do."""

    def ready(self, place: Place) -> bool:
        """Say whether services that require this one may start. Asked again and again, while its process runs."""

    def stop(self, place: Place, leader: int) -> None:
        """Ask the process `leader` to end by itself. What is left at the deadline is killed, with its whole group."""

    def ended(self, place: Place, code: int) -> Ending:
        """Say what an end that nobody has asked for means; `code` as `subprocess.Popen.returncode`."""

    def health(self, place: Place) -> Health:
        """Say how it is: while its process runs, after it was done, and also before it was started."""

    def runs(self, place: Place) -> Collection[str]:
        """Return the names of the runs that it does: emergency signals about them are signals about it."""


class BusService(Service, Protocol):
    """A service that provides a bus."""

    def address(self, place: Place) -> str:
        """Return the bus's address, the same each time."""


class ProcessService:
    """What most services have in common: ready at once, SIGTERM, started again after every end but a good one."""

    def check(self, place: Place) -> None:
        """Find nothing wrong."""

    def ready(self, place: Place) -> bool:
        """It is ready as soon as its process runs."""
        return True

    def stop(self, place: Place, leader: int) -> None:
        """Send SIGTERM."""
        ask_to_end(leader)

    def ended(self, place: Place, code: int) -> Ending:
        """Exit code 0 is the end; a wrong command line (2) is hopeless."""
        return {0: Ending.DONE, 2: Ending.HOPELESS}.get(code, Ending.AGAIN)

    def health(self, place: Place) -> Health:
        """Nothing is known but that its process runs."""
        return Health()

    def runs(self, place: Place) -> Collection[str]:
        """Return none."""
        return ()


def ask_to_end(leader: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(leader, number)


def esper_command(*words: str | Path) -> list[str]:
    """Return the command line of ``esper`` in this environment."""
    return [sys.executable, "-m", "esper_app.cli", *map(str, words)]
