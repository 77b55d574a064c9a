"""All services of a machine: started in order, kept running, paused, and stopped in the opposite order."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Protocol

from attrs import evolve

from esper_core.plugins.registry import Registry
from esper_leyline_proto.commands import EmergencyLevel
from esper_leyline_proto.telemetry import HealthStatus
from esper_weatherlight.emergencies import Emergencies
from esper_weatherlight.log import OURS, ServiceLog
from esper_weatherlight.machine import Machine, Member
from esper_weatherlight.service import Place
from esper_weatherlight.state import made_folder
from esper_weatherlight.states import State
from esper_weatherlight.unit import Unit

#: Where messages go unless a file or a service says otherwise.
DEFAULT_BUS = "sqlite:"


class Mode(StrEnum):
    """What a supervisor is at.

    Attributes:
        UP: it keeps services running.
        DRAINING: it ends them.
        DOWN: none runs any more.
    """

    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


class Voice(Protocol):
    """Says on the bus what cannot wait."""

    def emergency(self, level: EmergencyLevel, service: str, reason: str) -> None:
        """Publish a signal about a service; never waits."""


class Supervisor:
    """Keeps the services of a machine running. One thread calls `step` again and again.

    Args:
        machine: its services.
        state: the state directory, absolute.
        registry: the loaded plugins.
        mark: marks all processes.
        log: of all services.
        emergencies: what was heard on the bus.
        voice: what says on the bus that a service has failed.
        clock: seconds that only go on.
        random: of pauses.

    Attributes:
        bus: the address of the machine's bus.
        units: its services, each behind those that it requires.
        mode: what it is at.

    Raises:
        EsperError: E612 if there is no folder for a service.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        state: Path,
        registry: Registry,
        mark: str,
        log: ServiceLog,
        emergencies: Emergencies,
        voice: Voice,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.settings = machine.settings
        self.mode = Mode.UP
        self._log, self._emergencies, self._voice, self._clock = log, emergencies, voice, clock
        self._began = clock()
        self._deadline = 0.0
        places = {it.name: _place(it, state, registry) for it in machine.members}
        self.bus = machine.settings.bus or _provided_bus(machine, places) or DEFAULT_BUS
        self.units = tuple(
            Unit(it, evolve(places[it.name], bus=self.bus), mark=mark, log=log, failed=self._failed, random=random)
            for it in machine.members
        )
        self._by_name = {it.name: it for it in self.units}

    def check(self) -> None:
        """Ask each service whether its options will do. Raises EsperError with what one of them says."""
        for unit in self.units:
            unit.member.service.check(unit.place)

    def step(self) -> None:
        """Do what is due."""
        now = self._clock()
        self._take_emergencies(now)
        for unit in self.units:
            if self.mode is Mode.UP:
                unit.step(now, may_start=self._may_start(unit), paused=self._paused(unit))
            else:
                unit.step(now, may_start=False, paused=None)
        if self.mode is Mode.DRAINING:
            self._drain(now)

    def begin_to_drain(self, why: str) -> None:
        """End all services: each is asked once nothing that requires it runs any more; what is left is killed."""
        if self.mode is Mode.UP:
            self.mode = Mode.DRAINING
            self._deadline = self._clock() + self.settings.drain_seconds
            self._log.happened(OURS, f"stopping all services within {self.settings.drain_seconds:g} s: {why}")
        elif self.mode is Mode.DRAINING:
            self._log.happened(OURS, f"killing all services: {why}")
            self._deadline = self._clock()

    def again(self, name: str) -> None:
        """Start a service again that has failed, and what is paused for it."""
        if (unit := self._by_name.get(name)) is not None:
            self._log.happened(OURS, f"{name} is started again, as was asked")
            unit.again(self._clock())
            self._emergencies.well(name)

    @property
    def over(self) -> bool:
        """All services that come to an end by themselves have come to it; a machine without one is never over.

        One that waits for a service that has failed would wait for ever.
        """
        ending = [it for it in self.units if it.member.spec.ends]
        return bool(ending) and all(it.state in (State.DONE, State.FAILED) or self._waits_in_vain(it) for it in ending)

    @property
    def health(self) -> HealthStatus:
        """The worst of all services: one that has failed is critical, one that does not run as it should degraded."""
        return max((_health_of(it) for it in self.units), default=HealthStatus.HEALTHY)

    @property
    def ready(self) -> bool:
        """Every service is ready, or done."""
        return self.mode is Mode.UP and all(it.state in (State.READY, State.DONE) for it in self.units)

    def status(self) -> dict[str, Any]:
        """Return how everything is, as plain data."""
        now = self._clock()
        count, signals = self._emergencies.shown()
        return {
            "mode": str(self.mode),
            "health": self.health.name.lower(),
            "ready": self.ready,
            "up_seconds": round(now - self._began, 1),
            "bus": self.bus.partition("?")[0],
            "services": [dict(it.status(now)) | {"health": _health_of(it).name.lower()} for it in self.units],
            "emergencies": {"count": count, "newest": signals},
        }

    def close(self) -> None:
        """Kill what is left."""
        now = self._clock()
        for unit in self.units:
            unit.kill(now)
            unit.close()

    def _may_start(self, unit: Unit) -> bool:
        return all(self._by_name[name].state in (State.READY, State.DONE) for name in unit.member.requires)

    def _paused(self, unit: Unit) -> str | None:
        pause = self._emergencies.pause_of(self._all_required(unit))
        return None if pause is None else f"{pause.sender}: {pause.reason}"

    def _waits_in_vain(self, unit: Unit) -> bool:
        failed = any(self._by_name[name].state is State.FAILED for name in self._all_required(unit))
        return failed and not unit.runs

    def _all_required(self, unit: Unit) -> frozenset[str]:
        """Whatever it requires, and what that requires."""
        found: set[str] = set()
        left = [*unit.member.requires]
        while left:
            if (name := left.pop()) not in found:
                found.add(name)
                left += self._by_name[name].member.requires
        return frozenset(found)

    def _take_emergencies(self, now: float) -> None:
        by_run = {run: it.name for it in self.units for run in it.run_names}
        for signal, sender in self._emergencies.settle(by_run, now):
            about = sender if sender in self._by_name else OURS
            self._log.happened(about, f"emergency {signal.level.name}: {signal.reason}", id=signal.id, run=signal.run)

    def _drain(self, now: float) -> None:
        late = now >= self._deadline
        for unit in reversed(self.units):
            if late:
                unit.kill(now)
            if not any(it.runs and unit.name in it.member.requires for it in self.units):
                left = max(0.0, self._deadline - now)
                unit.stop(now, min(left, unit.member.table.stop_seconds))
        if not any(it.runs for it in self.units):
            self.mode = Mode.DOWN

    def _failed(self, name: str, reason: str) -> None:
        self._voice.emergency(EmergencyLevel.HALT, name, f"the service {name} has failed: {reason}")


def _place(member: Member, state: Path, registry: Registry) -> Place:
    folder = made_folder(state / "services" / member.name)
    return Place(name=member.name, state=state, folder=folder, bus="", registry=registry)


def _provided_bus(machine: Machine, places: Mapping[str, Place]) -> str | None:
    for member in machine.members:
        if "bus" in member.spec.provides:
            found: str = member.service.address(places[member.name])  # type: ignore[attr-defined]
            return found
    return None


def _health_of(unit: Unit) -> HealthStatus:
    if unit.state is State.FAILED:
        return HealthStatus.CRITICAL
    if unit.state in (State.BACKING_OFF, State.PAUSED):
        return max(unit.health.status, HealthStatus.DEGRADED)
    return unit.health.status
