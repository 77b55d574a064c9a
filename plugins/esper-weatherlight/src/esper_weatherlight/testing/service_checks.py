"""Checks of services: they come up, end when they are asked to, and another supervisor can go on with them."""

import os
import signal

import attrs

from esper_testing.check import Check, CheckLevel, NotApplicable, check, collect
from esper_weatherlight.kinds import ServiceSpec
from esper_weatherlight.machine import OF_EVERY_SERVICE
from esper_weatherlight.processes import left_behind
from esper_weatherlight.service import Ending
from esper_weatherlight.testing.service_subject import ServiceSubject, demand, eventually

STATIC, FULL = CheckLevel.STATIC, CheckLevel.FULL


@check("service-options", ServiceSpec.kind, STATIC)
def options(subject: ServiceSubject) -> None:
    """No option has the name of a setting that every service has: a file could not say which is meant."""
    names = {it.name for it in attrs.fields(type(subject.config))} if subject.config is not None else set()
    both = sorted(names & {*OF_EVERY_SERVICE})
    demand(not both, f"its options have the field {both[:1]}", "a setting of every service", "give it another name")


@check("service-before", ServiceSpec.kind, CheckLevel.CONTRACT)
def before(subject: ServiceSubject) -> None:
    """Before its first start it is not in the way: it can say how it is, which runs it does, and its address."""
    with subject.place() as place:
        service = subject.build()
        service.health(place)
        names = [*service.runs(place)]
        demand(not names, f"it does the runs {names} already", "they are not in its folder", "read them from there")
        if "bus" in subject.spec.provides:
            first, second = (subject.build().address(place) for _ in range(2))  # type: ignore[attr-defined]
            demand(
                first == second,
                f"its address is {first}, and then {second}",
                "it is chosen again",
                "write into the folder what was chosen at first",
            )


@check("service-comes-up", ServiceSpec.kind, FULL)
def comes_up(subject: ServiceSubject) -> None:
    """It becomes ready, says how it is, and nothing is left of it once its group is killed."""
    with subject.place() as place:
        with subject.running(place) as running:
            subject.get_ready(running)
            running.service.health(place)
        left = [it.pid for it in left_behind(f"check-{place.state.name}")]
        gone = eventually(lambda: not [*left_behind(f"check-{place.state.name}")])
        demand(
            gone,
            f"the processes {left} outlive their group",
            "they have a session of their own",
            "tie them to the first process, or leave them in its group",
        )


@check("service-stops", ServiceSpec.kind, FULL)
def stops(subject: ServiceSubject) -> None:
    """Asked to end, it ends by itself."""
    with subject.place() as place, subject.running(place) as running:
        subject.get_ready(running)
        if running.group.code() is None:
            running.service.stop(place, running.group.leader)
        demand(
            eventually(lambda: running.group.code() is not None),
            "it still runs after it was asked to end",
            "the signal is not what it waits for",
            "override `stop`",
        )


@check("service-other-supervisor", ServiceSpec.kind, FULL)
def other_supervisor(subject: ServiceSubject) -> None:
    """All that it remembers is in its folder: built again it knows of its process what it knew before."""
    with subject.place() as place, subject.running(place) as running:
        subject.get_ready(running)
        same, other = running.service, subject.build()
        demand(
            other.ready(place) == same.ready(place) and {*other.runs(place)} == {*same.runs(place)},
            "built again, it says something else of its process",
            "what `start` has found out is kept in the object",
            "write it into place.folder",
        )


@check("service-goes-on", ServiceSpec.kind, FULL)
def goes_on(subject: ServiceSubject) -> None:
    """Killed at any time, it is to be started again, and comes up again."""
    with subject.place() as place:
        with subject.running(place) as running:
            subject.get_ready(running)
            if running.group.code() is not None:
                raise NotApplicable("it has come to its end")
            os.kill(running.group.leader, signal.SIGKILL)
            eventually(lambda: running.group.code() is not None)
            ending = running.service.ended(place, -signal.SIGKILL)
        demand(
            ending is Ending.AGAIN,
            f"killed, it is {ending}",
            "a death by a signal is taken for an end",
            "return Ending.AGAIN from `ended` for negative codes",
        )
        with subject.running(place) as again:
            subject.get_ready(again)


SERVICE_CHECKS: tuple[Check, ...] = collect(globals())
