"""The growth loop: every policy, every host and the twin run through it."""

from collections.abc import Sequence

from attrs import evolve, frozen

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Transition
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.observation import Observation
from esper_core.leyline.protocols import Actor, Services
from esper_core.leyline.reports import FinalReport, HostReport
from esper_core.simic.recording import Recorder
from esper_core.simic.rewards import WeightedTerm, reward
from esper_core.tamiyo.sense import observe
from esper_core.tolaria.executors import Executor


@frozen(kw_only=True)
class Outcome:
    """What a round leaves behind.

    Attributes:
        finals: each host's final report, in order.
        twin: the twin's.
        rewards: each host's rewards, by epoch; empty without reward terms.
        interrupted: somebody asked the round to stop early.
        stopped: hosts that their governor stopped.
    """

    finals: tuple[FinalReport, ...]
    twin: FinalReport | None
    rewards: tuple[tuple[float, ...], ...]
    interrupted: bool
    stopped: tuple[str, ...]


class Cohort:
    """Hosts in step under one actor.

    Args:
        executor: runs the hosts.
        actor: decides for all of them.
        policy: name and version of the policy, for the record.
        epochs: length of the round.
        random_guess_loss: of the task, in nats.
        terms: the reward.
        services: where events go.
    """

    def __init__(
        self,
        executor: Executor,
        actor: Actor,
        *,
        policy: str,
        epochs: int,
        random_guess_loss: float,
        services: Services,
        terms: Sequence[WeightedTerm] = (),
    ) -> None:
        self._executor = executor
        self._actor = actor
        self._policy = policy
        self._epochs = epochs
        self._random_guess_loss = random_guess_loss
        self._terms = tuple(terms)
        self.reports = executor.open()
        self._histories: list[list[Evidence]] = [[] for _ in self.reports]
        self._recorders = [Recorder(report.host, services) for report in self.reports]
        self.rewards: list[list[float]] = [[] for _ in self.reports]
        self._twin: Evidence | None = None
        actor.reset(len(self.reports))

    @property
    def stopped(self) -> tuple[str, ...]:
        """Names of the hosts that their governor has stopped."""
        return tuple(report.host for report in self.reports if report.governor is GovernorMode.STOPPED)

    def step(self, epoch: int, twin: Evidence | None = None) -> list[HostReport]:
        """Sense, decide, apply, train, measure, reward, record: one epoch for every host."""
        observations, masks = self._sense()
        actions = self._decide(epoch, observations, masks)
        applied = self._executor.apply(actions)
        for recorder, action, result in zip(self._recorders, actions, applied, strict=True):
            recorder.decided(epoch, action, result)
        self.reports = self._executor.epoch(twin)
        for index, report in enumerate(self.reports):
            self._recorders[index].trained(epoch, report)
            if report.evidence is not None:
                self._reward(index, epoch, report, (*applied[index].transitions, *report.transitions), twin)
                self._histories[index].append(report.evidence)
        self._twin = twin
        return self.reports

    def finish(self) -> tuple[FinalReport, ...]:
        """Sum every host up."""
        return tuple(self._executor.finish())

    def _sense(self) -> tuple[list[Observation], list[ActionMasks]]:
        observations = [
            observe(
                history,
                report,
                epochs=self._epochs,
                random_guess_loss=self._random_guess_loss,
                twin=self._twin,
            )
            for history, report in zip(self._histories, self.reports, strict=True)
        ]
        return observations, [report.masks for report in self.reports]

    def _decide(self, epoch: int, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> list[Action]:
        decided = self._actor.decide(observations, masks)
        return [
            evolve(action, id=f"{report.host}/{epoch}", policy=self._policy)
            for action, report in zip(decided, self.reports, strict=True)
        ]

    def _reward(
        self, index: int, epoch: int, report: HostReport, transitions: Sequence[Transition], twin: Evidence | None
    ) -> None:
        if not self._terms or report.evidence is None:
            return
        history = self._histories[index]
        before = history[-1] if history else None
        breakdown = reward(self._terms, before, report.evidence, transitions, twin)
        self._recorders[index].rewarded(epoch, breakdown)
        self.rewards[index].append(breakdown.total)


def run_round(cohort: Cohort, twin: Cohort | None, services: Services, *, epochs: int) -> Outcome:
    """Run one round: every epoch the twin first, then the hosts against it."""
    interrupted = False
    for epoch in range(epochs):
        reference = twin.step(epoch)[0].evidence if twin is not None else None
        cohort.step(epoch, reference)
        if len(cohort.stopped) == len(cohort.reports):
            break
        if services.should_stop():
            interrupted = epoch + 1 < epochs
            break
    return Outcome(
        finals=cohort.finish(),
        twin=twin.finish()[0] if twin is not None else None,
        rewards=tuple(tuple(rewards) for rewards in cohort.rewards),
        interrupted=interrupted,
        stopped=cohort.stopped,
    )
