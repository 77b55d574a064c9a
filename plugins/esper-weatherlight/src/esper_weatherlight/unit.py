"""One service under supervision: a state machine that is moved on by the clock."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any

from esper_core.leyline.errors import EsperError, summary
from esper_leyline_proto.telemetry import HealthStatus
from esper_weatherlight.log import ServiceLog
from esper_weatherlight.machine import Member
from esper_weatherlight.processes import MARK, ProcessGroup
from esper_weatherlight.service import Ending, Health, Launch, Place
from esper_weatherlight.state import note_leader
from esper_weatherlight.states import State

#: Seconds between two questions of whether a service is ready, and of how it is.
READY_EVERY, HEALTH_EVERY = 0.2, 2.0

#: A pause is longer by up to this share, so that services do not all start at the same moment.
_JITTER = 0.25


class Unit:
    """A service, its process, and what became of it so far. Used by one thread, with a clock that only goes on.

    Args:
        member: the service.
        place: where it is.
        mark: marks its processes.
        log: of all services.
        failed: is told the reason when the service has failed.
        random: of the pauses.

    Attributes:
        state: how far it is.
        since: when it came to be so, in seconds of the clock.
        restarts: how often its process was started again.
        reason: why it is in its state, in words; "" if there is nothing to say.
        health: what the service last said of itself.
    """

    def __init__(
        self,
        member: Member,
        place: Place,
        *,
        mark: str,
        log: ServiceLog,
        failed: Callable[[str, str], None],
        random: Random | None = None,
    ) -> None:
        self.member, self.place = member, place
        self.state, self.since = State.WAITING, 0.0
        self.restarts, self.reason = 0, ""
        self.health = Health()
        self._mark, self._log, self._failed = mark, log, failed
        self._random = random or Random()
        self._process: ProcessGroup | None = None
        self._recent: deque[float] = deque()
        self._pause = member.table.restarts.first_seconds
        self._again_at, self._deadline = 0.0, 0.0
        self._stopped = State.STOPPED
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"service-{member.name}")
        self._question: tuple[str, Future[Any]] | None = None
        self._asked_at = float("-inf")
        self.run_names: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.member.name

    @property
    def runs(self) -> bool:
        """It has a process."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The leader of its group; None without a process."""
        # Other threads ask as well, while the process comes and goes.
        process = self._process
        return None if process is None else process.leader

    def step(self, now: float, *, may_start: bool, paused: str | None) -> None:
        """Do what is due.

        Args:
            now: seconds of the clock.
            may_start: what it requires is ready, and the machine is not stopping.
            paused: why it must not run now; None: it may.
        """
        if self._process is not None and (code := self._process.code()) is not None:
            self._over(code, now)
        elif self.state in (State.STARTING, State.READY) and paused is not None:
            self.stop(now, self.member.table.stop_seconds, State.PAUSED, paused)
        elif self.state in (State.STARTING, State.READY):
            self._watch(now)
        elif self.state is State.STOPPING and now >= self._deadline:
            self._log.happened(self.name, "it has not ended in time, and is killed")
            self.kill(now)
        elif self.state is State.BACKING_OFF and now >= self._again_at:
            self._move(State.WAITING, now)
        elif self.state in (State.WAITING, State.PAUSED):
            self._wait(now, may_start, paused)

    def stop(self, now: float, seconds: float, then: State = State.STOPPED, reason: str = "") -> None:
        """Ask it to end within these seconds; without a process it is stopped at once."""
        if self._process is None:
            if self.state not in (State.DONE, State.FAILED, then):
                self._move(then, now, reason)
            return
        self._stopped = then
        if self.state is State.STOPPING:
            self._deadline = min(self._deadline, now + seconds)
            return
        self._deadline = now + seconds
        self._move(State.STOPPING, now, reason)
        try:
            self.member.service.stop(self.place, self._process.leader)
        except Exception as error:  # of a plugin: it was not asked, so its deadline is all that is left
            self._log.happened(self.name, f"it cannot be asked to end: {summary(error)}")
            self._deadline = now

    def kill(self, now: float) -> None:
        """Kill its processes, if it has some."""
        if self._process is not None:
            self._process.kill()
            code = self._process.code()
            assert code is not None
            self._over(code, now)

    def again(self, now: float) -> None:
        """Begin with a full budget, if it has failed or waits for its next start."""
        self._recent.clear()
        self._pause = self.member.table.restarts.first_seconds
        if self.state in (State.FAILED, State.BACKING_OFF):
            self._move(State.WAITING, now)

    def close(self) -> None:
        """Let go of its thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def status(self, now: float) -> Mapping[str, Any]:
        """Return how it is, as plain data."""
        return {
            "name": self.name,
            "service": self.member.spec.name,
            "state": str(self.state),
            "for_seconds": round(now - self.since, 1),
            "health": self.health.status.name.lower(),
            "summary": self.health.summary,
            "reason": self.reason,
            "restarts": self.restarts,
            "pid": self.pid,
            "requires": sorted(self.member.requires),
            "figures": dict(self.health.figures),
        }

    def _wait(self, now: float, may_start: bool, paused: str | None) -> None:
        if paused is not None:
            if self.state is not State.PAUSED:
                self._move(State.PAUSED, now, paused)
        elif self.state is State.PAUSED:
            self._move(State.WAITING, now)
        elif may_start:
            self._start(now)

    def _start(self, now: float) -> None:
        """Ask what to start, and start it once that is known."""
        answered, launch = self._answer("start", lambda: self.member.service.start(self.place))
        if not answered:
            return
        try:
            if isinstance(launch, Exception):
                raise launch
            if launch is None:
                self.health = self._health()
                self._move(State.DONE, now, self.health.summary)
                return
            assert isinstance(launch, Launch)
            environment = {MARK: self._mark, "ESPER_STATE": str(self.place.state), "PYTHONUNBUFFERED": "1"}
            self._process = ProcessGroup(launch, environment, lambda line: self._log.said(self.name, line))
            note_leader(self.place.state, self.name, self._process.leader)
        except Exception as error:  # of a plugin: it is this service's failure, and nobody else's
            self._ended_badly(Ending.AGAIN, summary(error) if not isinstance(error, EsperError) else str(error), now)
            return
        self._asked_at = float("-inf")
        self._deadline = now + self.member.table.ready_seconds
        self._move(State.STARTING, now, started=self._process.leader)

    def _watch(self, now: float) -> None:
        """Ask whether it is ready, and how it is."""
        restarts = self.member.table.restarts
        if self.state is State.READY and now - self.since >= restarts.stable_seconds:
            self._pause = restarts.first_seconds
        starting = self.state is State.STARTING
        if self._question is None and now - self._asked_at < (READY_EVERY if starting else HEALTH_EVERY):
            return
        answered, found = self._answer(f"watch {self.pid}", self._how_it_is)
        if not answered:
            if starting and now >= self._deadline:
                self._not_ready(now)
            return
        self._asked_at = now
        if isinstance(found, Exception):
            self.health = Health(status=HealthStatus.UNHEALTHY, summary=summary(found))
        else:
            ready, self.health, self.run_names = found
            if starting and ready:
                self._move(State.READY, now)
                return
        if starting and now >= self._deadline:
            self._not_ready(now)

    def _how_it_is(self) -> tuple[bool, Health, frozenset[str]]:
        service, place = self.member.service, self.place
        return service.ready(place), service.health(place), frozenset(service.runs(place))

    def _not_ready(self, now: float) -> None:
        self._log.happened(self.name, f"it is not ready after {self.member.table.ready_seconds:g} s, and is killed")
        assert self._process is not None
        self._process.kill()
        self._forget()
        self._ended_badly(Ending.AGAIN, f"it was not ready after {self.member.table.ready_seconds:g} s", now)

    def _over(self, code: int, now: float) -> None:
        """Its process has ended, and its group is killed."""
        self._forget()
        how = f"ended with {code}" if code >= 0 else f"was killed by signal {-code}"
        self._log.happened(self.name, how, code=code)
        if self.state is State.STOPPING:
            self._move(self._stopped, now, self.reason)
            return
        try:
            ending = self.member.service.ended(self.place, code)
        except Exception as error:  # of a plugin
            ending, how = Ending.AGAIN, f"{how}; {summary(error)}"
        if ending is Ending.DONE:
            self.health = self._health()
            self._move(State.DONE, now, self.health.summary)
        else:
            self._ended_badly(ending, how, now)

    def _forget(self) -> None:
        """Its process is gone, and with it all that was known of it."""
        self._process = None
        self.health = Health()

    def _ended_badly(self, ending: Ending, why: str, now: float) -> None:
        how = self.member.table.restarts
        while self._recent and now - self._recent[0] > how.window_seconds:
            self._recent.popleft()
        if ending is Ending.HOPELESS or len(self._recent) >= how.budget:
            spent = f"{how.budget} restarts within {how.window_seconds:g} s were not enough"
            reason = f"{why}: starting it again is hopeless" if ending is Ending.HOPELESS else f"{why}; {spent}"
            self.health = Health(status=HealthStatus.CRITICAL, summary=reason)
            self._move(State.FAILED, now, reason)
            self._failed(self.name, reason)
            return
        self._recent.append(now)
        self.restarts += 1
        self._again_at = now + self._pause * self._random.uniform(1.0, 1.0 + _JITTER)
        self._pause = min(2 * self._pause, how.longest_seconds)
        self._move(State.BACKING_OFF, now, why)

    def _health(self) -> Health:
        try:
            return self.member.service.health(self.place)
        except Exception as error:  # of a plugin
            return Health(status=HealthStatus.UNHEALTHY, summary=summary(error))

    def _answer(self, kind: str, question: Callable[[], Any]) -> tuple[bool, Any]:
        """Ask in the service's thread; return whether the answer is there, and the answer, or what was raised.

        An answer to a question of another kind is of an earlier process, and dropped.
        """
        if self._question is None:
            self._question = kind, self._pool.submit(question)
        asked, answer = self._question
        if not answer.done():
            return False, None
        self._question = None
        if asked != kind:
            return False, None
        error = answer.exception()
        return True, error if error is not None else answer.result()

    def _move(self, state: State, now: float, reason: str = "", **more: Any) -> None:
        self.state, self.since, self.reason = state, now, reason
        self._log.happened(self.name, f"{state}: {reason}" if reason else str(state), state=str(state), **more)
