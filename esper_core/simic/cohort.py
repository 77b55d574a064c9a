"""Hosts in step under one actor: what happens to them in one epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Transition
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.observation import Observation
from esper_core.leyline.protocols import Actor, Resumable, Services
from esper_core.leyline.reports import FinalReport, HostReport, HostState
from esper_core.simic.preserving import evidence_of, evidence_record
from esper_core.simic.recording import Recorder
from esper_core.simic.rewards import WeightedTerm, reward
from esper_core.tamiyo.sense import observe
from esper_core.tolaria.executors import Executor


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

    def capture(self) -> list[HostState]:
        """Return the state of every host."""
        return self._executor.capture()

    def record(self) -> dict[str, Any]:
        """Return what the cohort itself knows, as plain data."""
        return {
            "histories": [[evidence_record(evidence) for evidence in history] for history in self._histories],
            "rewards": [list(rewards) for rewards in self.rewards],
            "twin": evidence_record(self._twin) if self._twin is not None else None,
            "actor": dict(self._actor.state()) if isinstance(self._actor, Resumable) else None,
        }

    def restore(self, hosts: Sequence[HostState], record: Mapping[str, Any]) -> None:
        """Bring the cohort to a captured state.

        Raises:
            EsperError: E502 if a state does not fit its host.
        """
        self.reports = self._executor.restore(hosts)
        self._histories = [[evidence_of(saved) for saved in history] for history in record["histories"]]
        self.rewards = [list(rewards) for rewards in record["rewards"]]
        self._twin = evidence_of(record["twin"]) if record["twin"] is not None else None
        for recorder, report in zip(self._recorders, self.reports, strict=True):
            recorder.resume(report.governor)
        if isinstance(self._actor, Resumable):
            self._actor.restore(record["actor"])

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
