"""The loop of ``esper up``: one supervisor, its lock, its log, its bus and its HTTP server, until it is told to end."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import evolve

from esper_core.leyline.errors import summary
from esper_core.plugins.registry import Registry
from esper_messaging.addresses import bus_section
from esper_oona.api import open_bus, require_shared
from esper_weatherlight.bus_link import BusLink
from esper_weatherlight.emergencies import Emergencies
from esper_weatherlight.http import status_server
from esper_weatherlight.log import FILE, OURS, ServiceLog
from esper_weatherlight.machine import Machine
from esper_weatherlight.state import asked_again, folder_of, supervising_alone, usable, write_record
from esper_weatherlight.supervisor import Mode, Supervisor

#: Seconds between two steps.
STEP_SECONDS = 0.1


def supervise(
    machine: Machine,
    registry: Registry,
    state: Path,
    *,
    show: Callable[[str], None] | None = None,
    until_done: bool = False,
) -> dict[str, Any]:
    """Keep the services of a machine running until SIGTERM or SIGINT; a second one kills them.

    Args:
        machine: its services.
        registry: the loaded plugins.
        state: the state directory.
        show: is given the log's lines; None: nobody looks.
        until_done: also end when all services that come to an end have come to it.

    Returns:
        How everything was before the services were stopped, as `Supervisor.status`.

    Raises:
        EsperError: E641 if the state directory has a supervisor; E202 if it cannot listen; E204 and what else keeps the
            bus from being known, E614 if it is of one process alone; what a service says of its options; E612 for what
            is wrong with the state directory.
    """
    state = state.absolute()
    # What opens a bus reads it there.
    os.environ["ESPER_STATE"] = str(state)
    folder = folder_of(state)
    with supervising_alone(state) as record, _log(folder, show) as log:
        emergencies = Emergencies(machine.settings.pause_seconds)
        voice = _Later()
        supervisor = Supervisor(
            machine, state=state, registry=registry, mark=record.mark, log=log, emergencies=emergencies, voice=voice
        )
        # It knows the address, and keeps no password in sight.
        bus_section(supervisor.bus, registry)
        require_shared(supervisor.bus, registry)
        supervisor.check()
        server = status_server(machine.settings.http, supervisor.status)
        try:
            link = BusLink(
                lambda: open_bus(supervisor.bus, registry),
                supervisor.bus,
                state,
                emergencies,
                supervisor.status,
                lambda what: log.happened(OURS, what),
            )
            voice.say = link.emergency
            write_record(folder, evolve(record, url=server.url, drain_seconds=machine.settings.drain_seconds))
            log.happened(OURS, f"up: {server.url}", pid=record.pid)
            before = _loop(supervisor, folder, until_done, link.last_words)
            link.close()
        except BaseException as error:
            # In the background, nobody sees what it says.
            log.happened(OURS, f"ended by an error: {summary(error)}")
            raise
        finally:
            supervisor.close()
            server.close()
        log.happened(OURS, "down: all services have ended")
    return before


def _loop(supervisor: Supervisor, folder: Path, until_done: bool, before_the_end: Callable[[], None]) -> dict[str, Any]:
    pause = threading.Event()
    before: dict[str, Any] = {}
    with _told_to_end() as told:
        while supervisor.mode is not Mode.DOWN:
            supervisor.step()
            for name in asked_again(folder):
                supervisor.again(name)
            why = told.pop(0) if told else ""
            if until_done and supervisor.mode is Mode.UP and supervisor.over:
                why = why or "all that was to be done is done"
            if why:
                before = before or supervisor.status()
                before_the_end()
                supervisor.begin_to_drain(why)
            pause.wait(STEP_SECONDS)
    return before


@contextmanager
def _told_to_end() -> Iterator[list[str]]:
    """Collect the signals that ask to end."""
    told: list[str] = []

    def handler(number: int, _: FrameType | None) -> None:
        told.append(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, it in before.items():
            signal.signal(number, it)


@contextmanager
def _log(folder: Path, show: Callable[[str], None] | None) -> Iterator[ServiceLog]:
    with usable(folder / FILE):
        log = ServiceLog(folder, show)
    try:
        yield log
    finally:
        log.close()


class _Later:
    """A voice that is there before the bus is."""

    def __init__(self) -> None:
        self.say: Callable[..., None] = lambda *_: None

    def emergency(self, *said: Any) -> None:
        self.say(*said)
