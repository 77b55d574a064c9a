"""Hosts in step under one actor: what happens to them in one epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from esper_core.leyline.actions import WAIT, Action, GovernorMode
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.observation import LearningCurves
from esper_core.leyline.protocols import Actor, Resumable, Services
from esper_core.leyline.records import plain
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.leyline.structure import structure
from esper_core.simic.recording import Recorder
from esper_core.simic.rewards import WeightedTerm, reward
from esper_core.simic.serialization import evidence_of, evidence_record
from esper_core.tamiyo.sense import observe
from esper_core.tolaria.executors import Executor


@frozen(kw_only=True)
class Decided:
    """The half of a step that lies before the training: what was decided for one host, and what that did.

    Attributes:
        action: the policy's, with its id.
        applied: the governor's answer, and the transitions that the action made.
    """

    action: Action
    applied: ApplyReport


class Rollout:
    """Hosts in step under one actor: sensing, deciding, recording, rewards. Training is the executor's.

    An epoch is `decide`, training, `conclude`; `step` does all three.

    Args:
        executor: runs the hosts.
        actor: decides for all of them.
        policy: name and version of the policy, for the record.
        epochs: length of the round.
        random_guess_loss: of the task, in nats; None where it is not known.
        terms: the reward.
        services: where events go.

    Attributes:
        reports: how the hosts stood last.
        rewards: of each host, by epoch; empty without reward terms.
        decided: what was decided for each host in the present epoch; empty before `decide` and after `conclude`.
    """

    def __init__(
        self,
        executor: Executor,
        actor: Actor,
        *,
        policy: str,
        epochs: int,
        random_guess_loss: float | None,
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
        self.rewards: list[list[float]] = [[] for _ in self.reports]
        self.decided: tuple[Decided, ...] = ()
        self._curves = [LearningCurves() for _ in self.reports]
        self._last: list[Evidence | None] = [None for _ in self.reports]
        self._recorders = [Recorder(report.host, services) for report in self.reports]
        self._twin: Evidence | None = None
        actor.reset(len(self.reports))

    @property
    def epoch(self) -> int:
        """The epoch that comes next, from 0, as the hosts report it. Stopped hosts fall behind."""
        return max(report.epoch for report in self.reports)

    @property
    def stopped(self) -> tuple[str, ...]:
        """Names of the hosts that their governor has stopped."""
        return tuple(report.host for report in self.reports if report.governor is GovernorMode.STOPPED)

    def step(self, twin: Evidence | None = None) -> list[HostReport]:
        """One epoch for every host: decide, train, conclude. `twin` is the twin's evidence for it."""
        self.decide()
        return self.conclude(self._executor.epoch(twin), twin)

    def decide(self) -> tuple[Decided, ...]:
        """Sense, ask the actor, and carry its actions out, before the epoch is trained."""
        actions = self._ask()
        applied = self._executor.apply(actions)
        self.decided = tuple(
            Decided(action=action, applied=result) for action, result in zip(actions, applied, strict=True)
        )
        for recorder, report, decided in zip(self._recorders, self.reports, self.decided, strict=True):
            recorder.decided(report.epoch, decided.action, decided.applied)
        return self.decided

    def conclude(self, reports: Sequence[HostReport], twin: Evidence | None = None) -> list[HostReport]:
        """Record and reward the epoch that has been trained.

        Args:
            reports: of all hosts.
            twin: the twin's evidence for the epoch.
        """
        for index, report in enumerate(reports):
            self._recorders[index].trained(self.reports[index].epoch, report)
            if report.evidence is not None:
                self._reward(index, report, report.evidence, twin)
                self._curves[index] = self._curves[index].after(report.evidence.train, report.evidence.validation)
                self._last[index] = report.evidence
        self.reports, self.decided, self._twin = list(reports), (), twin
        return self.reports

    def finish(self) -> tuple[FinalReport, ...]:
        """Sum every host up."""
        return tuple(self._executor.finish())

    def capture(self) -> list[HostState]:
        """Return the state of every host."""
        return self._executor.capture()

    def record(self) -> dict[str, Any]:
        """Return what the rollout itself knows, as plain data."""
        return {
            "curves": [plain(curves) for curves in self._curves],
            "last": [_record_of(evidence) for evidence in self._last],
            "rewards": [list(rewards) for rewards in self.rewards],
            "twin": _record_of(self._twin),
            "decided": plain(self.decided),
            "actor": dict(self._actor.state()) if isinstance(self._actor, Resumable) else None,
        }

    def restore(self, hosts: Sequence[HostState], record: Mapping[str, Any]) -> None:
        """Bring the rollout to a captured state.

        Raises:
            EsperError: E502 if a state does not fit its host.
        """
        self.reports = self._executor.restore(hosts)
        self._curves = [structure(LearningCurves, dict(curves)) for curves in record["curves"]]
        self._last = [_evidence_of(saved) for saved in record["last"]]
        self.rewards = [list(rewards) for rewards in record["rewards"]]
        self._twin = _evidence_of(record["twin"])
        self.decided = tuple(structure(Decided, dict(decided)) for decided in record.get("decided", ()))
        for recorder, report in zip(self._recorders, self.reports, strict=True):
            recorder.resume(report.governor)
        if isinstance(self._actor, Resumable):
            self._actor.restore(record["actor"])

    def _ask(self) -> list[Action]:
        """One action for each host. Those that are stopped wait: nothing that is done to them can help them."""
        observations = [
            observe(
                curves,
                last,
                report,
                epochs=self._epochs,
                random_guess_loss=self._random_guess_loss,
                twin=self._twin,
            )
            for curves, last, report in zip(self._curves, self._last, self.reports, strict=True)
        ]
        actions = self._actor.decide(observations, [report.masks for report in self.reports])
        return [
            evolve(
                WAIT if report.governor is GovernorMode.STOPPED else action,
                id=f"{report.host}/{report.epoch}",
                policy=self._policy,
            )
            for action, report in zip(actions, self.reports, strict=True)
        ]

    def _reward(self, index: int, report: HostReport, evidence: Evidence, twin: Evidence | None) -> None:
        if not self._terms:
            return
        made = self.decided[index].applied.transitions if self.decided else ()
        breakdown = reward(self._terms, self._last[index], evidence, (*made, *report.transitions), twin)
        self._recorders[index].rewarded(evidence.epoch, breakdown)
        self.rewards[index].append(breakdown.total)


def _record_of(evidence: Evidence | None) -> dict[str, Any] | None:
    return None if evidence is None else evidence_record(evidence)


def _evidence_of(record: Mapping[str, Any] | None) -> Evidence | None:
    return None if record is None else evidence_of(record)
