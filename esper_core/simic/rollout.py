"""Hosts in step under one policy: what happens to them in one epoch."""

from collections.abc import Sequence

from attrs import evolve, frozen
from torch import Tensor

from esper_core.leyline.actions import GovernorMode, Transition
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.executors import Executor, Plan
from esper_core.leyline.learning import Decision, Ended, PolicyState, Round, Situation, Step, Trajectory
from esper_core.leyline.observation import LearningCurves
from esper_core.leyline.protocols import Services
from esper_core.leyline.records import plain
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.leyline.specs import Capability
from esper_core.leyline.structure import structure
from esper_core.simic.failures import require_a_host
from esper_core.simic.recording import Recorder
from esper_core.simic.rewards import WeightedTerm, reward
from esper_core.simic.serialization import decision_of, decision_record, optional_evidence, optional_record
from esper_core.simic.state import LoopState
from esper_core.simic.trajectories import TrajectoryLog
from esper_core.tamiyo.policy import Policy, action_id
from esper_core.tamiyo.sense import Answers, observe


@frozen(kw_only=True)
class Decided:
    """The half of a step that lies before the training: what was decided for one host, and what that did.

    Attributes:
        situation: what the policy was shown.
        decision: the policy's, its actions with their ids.
        applied: for each action the governor's answer, and the transitions that the action made.
    """

    situation: Situation
    decision: Decision
    applied: tuple[ApplyReport, ...]

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """Every change of a stage that the actions made."""
        return tuple(change for report in self.applied for change in report.transitions)


class Rollout:
    """Hosts in step under one policy: sensing, deciding, recording, rewards. Training is the executor's.

    An epoch is `decide`, training, `conclude`; `step` does all three.

    Args:
        executor: runs the hosts.
        policy: decides for all of them.
        plans: of the hosts.
        epochs: length of the round.
        random_guess_loss: of the task, in nats; None where it is not known.
        services, terms: where events go; the reward.
        gamma, number: the run's discount, 0 to 1; and the round, from 0.

    Attributes:
        reports: how the hosts stood last.
        rewards: of each host, by epoch; empty without reward terms.
        decided: what was decided for each host in the present epoch; empty before `decide` and after `conclude`.
    """

    def __init__(
        self,
        executor: Executor,
        policy: Policy,
        *,
        plans: Sequence[Plan],
        epochs: int,
        random_guess_loss: float | None,
        services: Services,
        terms: Sequence[WeightedTerm] = (),
        gamma: float = 1.0,
        number: int = 0,
    ) -> None:
        self._executor = executor
        self._policy = policy
        self._epochs = epochs
        self._random_guess_loss = random_guess_loss
        self._terms = tuple(terms)
        self._gamma = gamma
        self._number = number
        # Only a policy that learns is given trajectories: they are the one thing that grows with the epochs.
        self._log = TrajectoryLog(policy.name) if Capability.LEARNS in policy.capabilities else None
        self.reports = executor.open(plans)
        self.rewards: list[list[float]] = [[] for _ in self.reports]
        self.decided: tuple[Decided, ...] = ()
        self._curves = [LearningCurves() for _ in self.reports]
        self._last: list[Evidence | None] = [None for _ in self.reports]
        self._answers: list[Answers] = [() for _ in self.reports]
        self._recorders = [Recorder(report.host, services, number) for report in self.reports]
        self._twins: list[Evidence | None] = [None for _ in self.reports]
        policy.reset(Round(number=number, hosts=tuple(report.host for report in self.reports), epochs=epochs))

    @property
    def epoch(self) -> int:
        """The epoch that comes next, from 0, as the hosts report it. Stopped hosts fall behind."""
        return max(report.epoch for report in self.reports)

    @property
    def stopped(self) -> tuple[str, ...]:
        """Names of the hosts that their governor has stopped."""
        return tuple(report.host for report in self.reports if report.governor is GovernorMode.STOPPED)

    @property
    def over(self) -> bool:
        """Every host is stopped, or has spent its budget."""
        return all(report.through for report in self.reports)

    def step(self, twins: Sequence[Evidence | None] = (None,)) -> list[HostReport]:
        """One epoch for every host: decide, train, conclude. `twins` is as for `conclude`."""
        self.decide()
        return self.conclude(self._executor.epoch(_for_each(twins, self.reports)), twins)

    def decide(self) -> tuple[Decided, ...]:
        """Sense, ask the policy, and carry its actions out, before the epoch is trained."""
        situations = [self._situation(index) for index in range(len(self.reports))]
        decisions = self._ask(situations)
        applied = self._executor.apply([decision.actions for decision in decisions])
        self.decided = tuple(
            Decided(situation=situation, decision=decision, applied=tuple(results))
            for situation, decision, results in zip(situations, decisions, applied, strict=True)
        )
        for recorder, report, decided in zip(self._recorders, self.reports, self.decided, strict=True):
            for action, result in zip(decided.decision.actions, decided.applied, strict=True):
                recorder.decided(report.epoch, action, result)
        return self.decided

    def conclude(self, reports: Sequence[HostReport], twins: Sequence[Evidence | None] = (None,)) -> list[HostReport]:
        """Record and reward the epoch that has been trained.

        Args:
            reports: of all hosts.
            twins: the evidence of each host's twin for the epoch; one alone is that of every host's twin.

        Raises:
            EsperError: E540, or the code of what a host raised, if every host has failed.
        """
        references = _for_each(twins, self.reports)
        for index, report in enumerate(reports):
            self._recorders[index].trained(self.reports[index].epoch, report)
            if report.evidence is not None:
                # After the planned epochs nothing more is decided, and so there is nothing to reward.
                if self.decided:
                    self._complete(index, report, report.evidence, references[index])
                self._curves[index] = self._curves[index].after(report.evidence.train, report.evidence.validation)
                self._last[index] = None if report.rollback else report.evidence  # that network has been given up
        self.reports, self.decided, self._twins = list(reports), (), references
        for index, report in enumerate(reports):
            if self._log is not None and (self._log.ended(report.host) or report.failure is not None):
                self._log.end(self._situation(index))
        require_a_host(self.reports)
        return self.reports

    def finish(self) -> tuple[FinalReport, ...]:
        """Sum every host up. Raises as `conclude` does if every host has failed."""
        finals = tuple(self._executor.finish())
        require_a_host(self._executor.reports())
        return finals

    def close(self) -> None:
        """Let go of the hosts."""
        self._executor.close()

    def trajectories(self) -> tuple[Trajectory, ...]:
        """Return the complete trajectories of the round; none of a policy that does not learn."""
        return () if self._log is None else self._log.complete

    def capture(self) -> list[HostState]:
        """Return the state of every host."""
        return self._executor.capture()

    def policy_state(self) -> PolicyState | None:
        """Return what the policy remembers; None if it remembers nothing."""
        return self._policy.state()

    def state(self) -> LoopState:
        """Return what the rollout itself knows."""
        tensors: dict[str, Tensor] = {} if self._log is None else self._log.tensors()
        record = {
            "curves": [plain(curves) for curves in self._curves],
            "last": [optional_record(evidence) for evidence in self._last],
            "answers": [plain(answers) for answers in self._answers],
            "rewards": [list(rewards) for rewards in self.rewards],
            "twins": [optional_record(evidence) for evidence in self._twins],
            "decided": [
                {
                    "situation": plain(decided.situation),
                    "decision": decision_record(decided.decision, tensors, f"decided/{index}/"),
                    "applied": plain(decided.applied),
                }
                for index, decided in enumerate(self.decided)
            ],
        }
        return LoopState(record=record, tensors=tensors)

    def restore(self, hosts: Sequence[HostState], state: LoopState, policy: PolicyState | None) -> None:
        """Bring the rollout to a captured state: all of it is read before anything is touched.

        Raises:
            EsperError: E502 if a state does not fit its host, or its policy.
        """
        record = state.record
        curves = [structure(LearningCurves, dict(saved)) for saved in record["curves"]]
        last = [optional_evidence(saved) for saved in record["last"]]
        answers = [structure(Answers, saved) for saved in record["answers"]]
        rewards = structure(list[list[float]], record["rewards"])
        twins = [optional_evidence(saved) for saved in record["twins"]]
        decided = tuple(
            Decided(
                situation=structure(Situation, dict(saved["situation"])),
                decision=decision_of(saved["decision"], state.tensors, f"decided/{index}/"),
                applied=structure(tuple[ApplyReport, ...], saved["applied"]),
            )
            for index, saved in enumerate(record["decided"])
        )
        if any(len(saved) != len(self.reports) for saved in (curves, last, answers, rewards, twins, decided or last)):
            raise ValueError(f"the saved loop is not one of {len(self.reports)} hosts in each of its lists")
        self._policy.restore(policy)
        if self._log is not None:
            self._log.restore(state.tensors)
        self.reports = self._executor.restore(hosts)
        self._curves, self._last, self._answers, self.rewards = curves, last, answers, rewards
        self._twins, self.decided = twins, decided
        for recorder, report in zip(self._recorders, self.reports, strict=True):
            recorder.resume(report.governor)

    def _situation(self, index: int) -> Situation:
        report = self.reports[index]
        observation = observe(
            self._curves[index],
            self._last[index],
            report,
            epochs=self._epochs,
            random_guess_loss=self._random_guess_loss,
            twin=self._twins[index],
            answers=self._answers[index],
        )
        return Situation(host=report.host, observation=observation, masks=report.masks)

    def _ask(self, situations: Sequence[Situation]) -> list[Decision]:
        """Ask about the hosts that are still in training; for the others there is nothing to decide."""
        asked = [it for it, report in zip(situations, self.reports, strict=True) if not report.through]
        decided = dict(zip((situation.host for situation in asked), self._policy.decide(asked), strict=True))
        return [self._numbered(report, decided.get(report.host, Decision())) for report in self.reports]

    def _numbered(self, report: HostReport, decision: Decision) -> Decision:
        actions = [
            evolve(action, id=action_id(report.host, self._number, report.epoch, index), policy=self._policy.name)
            for index, action in enumerate(decision.actions)
        ]
        return evolve(decision, actions=actions)

    def _complete(self, index: int, report: HostReport, evidence: Evidence, twin: Evidence | None) -> None:
        """Make the step of one host whole, reward it, and remember what the next one needs."""
        decided = self.decided[index]
        step = Step(
            host=report.host,
            round=self._number,
            epoch=evidence.epoch,
            epochs=self._epochs,
            gamma=self._gamma,
            observation=decided.situation.observation,
            masks=decided.situation.masks,
            decision=decided.decision,
            verdicts=tuple(result.verdict for result in decided.applied),
            before=self._last[index],
            after=evidence,
            twin_before=self._twins[index],
            twin=twin,
            transitions=(*decided.transitions, *report.transitions),
            seed_reports=report.seed_reports,
            ended=_ended(report, self._epochs),
        )
        if self._terms:
            breakdown = reward(self._terms, step)
            self._recorders[index].rewarded(step.epoch, breakdown)
            self.rewards[index].append(breakdown.total)
            step = evolve(step, reward=breakdown)
        if self._log is not None:
            self._log.add(step)
        if step.ended is Ended.TERMINATED:
            self._policy.forget(report.host)
        self._answers[index] = tuple(zip(step.decision.actions, step.verdicts, strict=True))


def _ended(report: HostReport, epochs: int) -> Ended:
    """Say how a trajectory ends, by the host's report after the step."""
    if report.governor is GovernorMode.STOPPED or report.rollback is not None:
        return Ended.TERMINATED
    return Ended.TRUNCATED if report.epoch >= epochs or report.through else Ended.NONE


def _for_each(twins: Sequence[Evidence | None], hosts: Sequence[HostReport]) -> list[Evidence | None]:
    return list(twins) * len(hosts) if len(twins) == 1 else list(twins)
