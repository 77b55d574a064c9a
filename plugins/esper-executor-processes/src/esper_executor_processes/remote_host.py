"""One host as the process of the run sees it: where it is, what it said last, and how to make it again."""

from attrs import define, evolve, field

from esper_core.api import FailedHost, HostReport, HostState, Plan
from esper_executor_processes.messages import dumps
from esper_executor_processes.worker import Answer, Call, Key, Request

#: By the clock, capturing a host takes at most this share of its time.
_SHARE = 0.02

#: Calls that change a host: they are repeated when it is made again.
_CHANGES = frozenset({"apply", "epoch"})


@define(eq=False)
class RemoteHost:
    """One host.

    Attributes:
        key: its name among the hosts of a worker.
        place: of its worker.
        plan: what it is made of.
        last: its last report after an epoch, a restoration or the beginning.
        failed: stands for it when no worker does.
        generation: the worker that it is in; None: it is in none.
        losses: how often in a row, without an epoch in between, it has lost its worker.
        seconds: wall time of its last epoch, in its worker.
        notices: what is to be said with its next report.
    """

    key: Key
    place: int
    plan: Plan
    last: HostReport | None = None
    failed: FailedHost | None = None
    generation: int | None = None
    losses: int = 0
    seconds: float = 0.0
    notices: list[str] = field(factory=list)
    _state: bytes | None = None
    _since: list[Call] = field(factory=list)
    _restored: bool = False
    _epochs: int = 0
    _trained: float = 0.0
    _capturing: float = 0.0

    def request(self, generation: int, calls: tuple[Call, ...]) -> Request:
        """Return what to ask its worker: what makes the host again comes first, where it is not there."""
        if self.generation == generation:
            return Request(key=self.key, calls=calls)
        return Request(key=self.key, plan=self.plan, state=self._state, replay=tuple(self._since), calls=calls)

    def takes_in(self, answer: Answer, calls: tuple[Call, ...], generation: int) -> None:
        """Remember what calls that were answered have changed."""
        if self.generation != generation and answer.raised is None:
            # A host that was brought to a state does not know any more what it said of its last epoch.
            self._restored = not any(name == "epoch" for name, _ in self._since)
            self.generation = generation
        for (name, arguments), value, seconds in zip(calls, answer.values, answer.seconds, strict=False):
            if name in _CHANGES:
                self._since.append((name, arguments))
            if name == "epoch":
                self._epochs, self._trained, self.seconds = self._epochs + 1, self._trained + seconds, seconds
                self.last, self._restored, self.losses = value, False, 0
            elif name == "capture":
                self._captured(value, seconds)
            elif name == "restore":
                (self._state,), self._since = arguments, []
                self.last, self._restored = value, False

    def answer_as_failed(self, calls: tuple[Call, ...]) -> Answer:
        """Return what a host that has failed answers."""
        assert self.failed is not None
        values = [getattr(self.failed, name)(*arguments) for name, arguments in calls if name != "epoch"]
        values = [dumps(it) if isinstance(it, HostState) else it for it in values]
        if calls[0][0] == "epoch":
            values.insert(0, self.failed.report())
        return Answer(values=tuple(values))

    def due(self, every: int | None) -> bool:
        """Say whether it is to be captured after its next epoch: so often, or by the clock."""
        if every is not None:
            return self._epochs + 1 >= every
        return self._trained * _SHARE >= self._capturing

    def reported(self, report: HostReport) -> HostReport:
        """Return a report of its worker's with what only this side remembers."""
        if self._restored and self.last is not None and report.failure is None:
            kept = ("evidence", "transitions", "findings", "seed_reports")
            report = evolve(report, **{name: getattr(self.last, name) for name in kept})
        return report if self.last is None else evolve(report, notices=self.last.notices)

    def says(self, report: HostReport) -> HostReport:
        """Return the report of an epoch, with what is to be said about it."""
        self.last, self.notices = evolve(report, notices=(*report.notices, *self.notices)), []
        return self.last

    def forget_past(self) -> None:
        """Forget how it came to be what it is: where nobody takes a lost worker's place, it is not made again."""
        self._since = []

    def forget(self) -> None:
        """Forget what it was brought to, and that it has failed: it is brought to another state."""
        self.failed, self._state, self._since = None, None, []

    def lose(self, why: str, most: int) -> None:
        """Take note that its worker was lost in a call of this host, and let it have failed if that is too often."""
        self.generation, self.losses = None, self.losses + 1
        if self.losses > most:
            assert self.last is not None
            self.failed = FailedHost(self.last, f"{why}, {self.losses} times in one epoch")
        else:
            self.notices.append(f"{why}; it was started again and the host continued ({self.losses} of at most {most})")

    def _captured(self, state: bytes, seconds: float) -> None:
        self._state, self._since = state, []
        self._epochs, self._trained, self._capturing = 0, 0.0, seconds
