"""A service under test: what its checks look at, in a state directory that nobody else uses."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_testing.check import CheckFailure, NotApplicable
from esper_testing.subject import Subject
from esper_weatherlight.kinds import ServiceSpec
from esper_weatherlight.processes import MARK, ProcessGroup
from esper_weatherlight.service import Place, Service

#: Seconds that a service under test may take to be ready, and to end.
PATIENCE = 120.0


def demand(true: object, seen: str, cause: str, fix: str) -> None:
    """Fail a check."""
    if not true:
        raise CheckFailure(seen, cause=cause, fix=fix)


def eventually(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something is true; False if it is not in time."""
    end = monotonic() + seconds
    while not true():
        if monotonic() > end:
            return False
        threading.Event().wait(0.05)
    return True


@frozen(kw_only=True)
class Running:
    """A service whose process runs.

    Attributes:
        service, place: it, and where.
        group: its processes.
        said: what they have printed.
    """

    service: Service
    place: Place
    group: ProcessGroup
    said: list[str] = field(factory=list)


@frozen(kw_only=True)
class ServiceSubject(Subject[ServiceSpec]):
    """What the checks of services look at. The options name something that can be started, and runs for seconds."""

    def build(self) -> Service:
        """Return the service."""
        service: Service = self.factory(self.config)
        return service

    def build_any(self) -> None:
        """Build it once."""
        self.build()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Give a place in a new state directory, on the embedded bus.

        Raises:
            NotApplicable: in it a component is asked for that is not installed.
        """
        with TemporaryDirectory(prefix="esper-") as name:
            state = Path(name)
            folder = state / "services" / "checked"
            folder.mkdir(parents=True)
            registry = load_plugins().registry
            bus = f"sqlite:{state}/bus.sqlite"
            try:
                yield Place(name="checked", state=state, folder=folder, bus=bus, registry=registry)
            except EsperError as error:
                if error.code != "E204":
                    raise
                raise NotApplicable(f"it needs what is not installed: {error.what}") from error

    @contextmanager
    def running(self, place: Place) -> Iterator[Running]:
        """Start it, and kill what is left of it in the end.

        Raises:
            CheckFailure: it refuses options with which it starts.
            NotApplicable: its options name nothing that could be started here.
        """
        service, said = self.build(), list[str]()
        refused = _refusal(service, place)
        try:
            launch = service.start(place)
        except EsperError as error:
            raise NotApplicable(f"with these options there is nothing to start: {error.what}") from error
        if launch is None:
            raise NotApplicable("with these options there is nothing to start")
        demand(
            refused is None,
            f"it starts with these options, and `check` refuses them: {refused}",
            "`check` asks for more than `start` needs",
            "raise there only what would keep it from starting",
        )
        environment: Mapping[str, str] = {"ESPER_STATE": str(place.state), MARK: f"check-{place.state.name}"}
        group = ProcessGroup(launch, environment, said.append)
        try:
            yield Running(service=service, place=place, group=group, said=said)
        finally:
            group.kill()

    def get_ready(self, running: Running) -> None:
        """Wait until it is ready, or has come to its end."""

        def settled() -> bool:
            return running.service.ready(running.place) or running.group.code() is not None

        said: Any = running.said[-3:]
        demand(
            eventually(settled) and running.group.code() in (None, 0),
            f"it has ended with {running.group.code()}, or is not ready after {PATIENCE:g} s: {said}",
            "its process does not come up with these options",
            "let `ready` say so once services that require it may start",
        )


def _refusal(service: Service, place: Place) -> EsperError | None:
    try:
        service.check(place)
    except EsperError as error:
        return error
    return None
