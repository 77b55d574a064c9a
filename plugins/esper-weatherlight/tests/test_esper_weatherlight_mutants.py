"""Services that break one promise each; the conformance suite finds every one."""

from uuid import uuid4

import pytest
from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_testing.check import CheckFailure
from esper_weatherlight.api import Ending, Launch, ProcessService, ServiceSpec
from esper_weatherlight.testing import service_checks, service_subject
from esper_weatherlight.testing.conformance import CONFORMANCE
from esper_weatherlight.testing.service_subject import ServiceSubject

CHECKS = {check.id: check for check in CONFORMANCE.checks}


class Right(ProcessService):
    """Runs until it is asked to end; that it is up is in its folder."""

    script = "sleep 60"

    def __init__(self, config=None):
        self.config = config

    def start(self, place):
        return Launch(command=["sh", "-c", f"touch {place.folder}/up && exec {self.script}"])

    def ready(self, place):
        return (place.folder / "up").exists()


class Bus(Right):
    """Provides a bus whose address is where it was written down."""

    def address(self, place):
        return f"sqlite:{place.folder}/bus"


class MovingBus(Bus):
    def address(self, place):
        return f"sqlite:{place.folder}/{uuid4().hex}"


class DoesRunsBefore(Right):
    def runs(self, place):
        return ["digits-1"]


class NeedsItsFileToSayHowItIs(Right):
    def health(self, place):
        (place.folder / "up").read_text()
        return super().health(place)


class NeverReady(Right):
    def ready(self, place):
        return False


class FailsAtOnce(Right):
    script = "false"

    def ready(self, place):
        return False


class LeavesAChild(Right):
    def start(self, place):
        # The child ends by itself once the check has seen it.
        return Launch(command=["sh", "-c", f"setsid sleep 4 & touch {place.folder}/up; exec sleep 60"])


class RefusesWhatItStarts(Right):
    def check(self, place):
        raise EsperError("E202", "there is no clock")


class DoesNotStop(Right):
    def stop(self, place, leader):
        """Ask nobody."""


class RemembersItself(Right):
    up = False

    def start(self, place):
        self.up = True
        return super().start(place)

    def ready(self, place):
        return self.up


class TakesADeathForAnEnd(Right):
    def ended(self, place, code):
        return Ending.DONE


class ComesUpOnce(Right):
    def start(self, place):
        script = f"test ! -e {place.folder}/up && touch {place.folder}/up && exec sleep 60; exit 1"
        return Launch(command=["sh", "-c", script])

    def ready(self, place):
        return (place.folder / "up").exists() and not (place.folder / "ended").exists()

    def ended(self, place, code):
        (place.folder / "ended").touch()
        return Ending.AGAIN


@frozen(kw_only=True)
class Options:
    """Options of a service."""

    port: int = 0


@frozen(kw_only=True)
class TakenOptions:
    """Options, one of which every service has."""

    restarts: int = 3


#: Mutant, check that finds it, options, roles.
MUTANTS = [
    (Right, "service-options", TakenOptions(), ()),
    (DoesRunsBefore, "service-before", None, ()),
    (NeedsItsFileToSayHowItIs, "service-before", None, ()),
    (MovingBus, "service-before", None, ("bus",)),
    (NeverReady, "service-comes-up", None, ()),
    (FailsAtOnce, "service-comes-up", None, ()),
    (LeavesAChild, "service-comes-up", None, ()),
    (RefusesWhatItStarts, "service-comes-up", None, ()),
    (DoesNotStop, "service-stops", None, ()),
    (RemembersItself, "service-other-supervisor", None, ()),
    (TakesADeathForAnEnd, "service-goes-on", None, ()),
    (ComesUpOnce, "service-goes-on", None, ()),
]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, plugins, request):
    """What a mutant never does is not waited for; a right service has the time that a loaded machine takes."""
    patient, never = service_subject.eventually, "mutant" in request.node.originalname

    def eventually(true, seconds=1.5 if never else 60.0):
        return patient(true, seconds)

    monkeypatch.setattr(service_subject, "eventually", eventually)
    monkeypatch.setattr(service_checks, "eventually", eventually)
    monkeypatch.setattr(service_subject, "load_plugins", lambda: plugins)


def subject(service, options=None, provides=()):
    spec = ServiceSpec(name="mutant", summary="", factory=service, provides=frozenset(provides))
    return ServiceSubject(spec=spec, config=options)


@pytest.mark.parametrize("check", CHECKS)
def test_a_right_one_passes(check):
    CHECKS[check](subject(Right, Options()))


def test_a_right_bus_passes():
    CHECKS["service-before"](subject(Bus, provides=("bus",)))


@pytest.mark.parametrize(
    ("mutant", "check", "options", "provides"), MUTANTS, ids=lambda it: getattr(it, "__name__", None)
)
def test_a_mutant_is_caught(mutant, check, options, provides):
    with pytest.raises(CheckFailure):
        CHECKS[check](subject(mutant, options, provides))


def test_every_check_has_a_mutant():
    assert {check for _, check, _, _ in MUTANTS} == set(CHECKS)
