"""Rounds of a training: fresh hosts beside their twins, under one policy; saved and restored."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from attrs import evolve, frozen

from esper_app.execution.assembly import Assembly
from esper_app.execution.checkpoint import Checkpoint
from esper_app.execution.risk.guard import guarded
from esper_app.execution.run_hosts import RunHost, refuse_compute_control
from esper_app.execution.run_modules import refuse_not_waiting
from esper_app.execution.run_parts import NULL
from esper_app.execution.waiting import waits_told
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.executors import Executor, HostBuilder, SharesWorkers
from esper_core.leyline.learning import PolicyState, Trajectory
from esper_core.leyline.protocols import Services
from esper_core.leyline.records import plain
from esper_core.leyline.specs import Capability, PolicySpec
from esper_core.leyline.structure import structure
from esper_core.simic.rollout import Rollout
from esper_core.simic.rounds import StagedRound, round_seed
from esper_core.simic.state import LoopState
from esper_core.tamiyo.policy import Policy
from esper_nissa.hub import Hub

#: The entry of a checkpoint's loops that holds what is known of the rounds that are over.
ROUNDS = "rounds"


@frozen(kw_only=True)
class _RoundOver:
    """What is known of a round that is over, as `Training.learned` notes it."""

    round: int
    returns: Mapping[str, float]
    mean_return: float
    validation: Mapping[str, Mapping[str, Mapping[str, float | None] | None]]
    figures: Mapping[str, float]
    version: str | None = None
    following: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class TeachablePolicy(Policy):
    """A policy that tells what it has learned.

    Attributes:
        learned: is given the state with which it acted in a round, the trajectories, and the figures about them.
    """

    learned: Callable[[PolicyState, tuple[Trajectory, ...], Mapping[str, float]], None]

    def learn(self, trajectories: Any) -> Mapping[str, float]:
        """Learn as the policy does."""
        acted = self.state()
        assert acted is not None  # what learns is stateful
        figures = super().learn(trajectories)
        self.learned(acted, tuple(trajectories), figures)
        return figures


@frozen(kw_only=True)
class Versions:
    """How the policies of a training's rounds are called.

    Attributes:
        version: of the policy that decides in the round with this number; None: it has none.
        cycle: after so many rounds the random seeds come again; None: never.
    """

    version: Callable[[int], str | None] = lambda number: None
    cycle: int | None = None


def learned(version: str | None) -> Versions:
    """Return the versions of a policy that learns: from the second round on it is not what it began with."""
    return Versions(version=lambda number: f"{version}+{number}" if version is not None and number else version)


@frozen(kw_only=True)
class Stage:
    """Makes rounds ready.

    Attributes:
        assembly: the parts of the run.
        build: makes hosts.
        services: where events go.
        policy: decides in all rounds.
        hosts: those that grow, in order.
        versions: which version of the policy decides in a round, and which random seeds its hosts have.
    """

    assembly: Assembly
    build: HostBuilder
    services: Services
    policy: Policy
    hosts: tuple[RunHost, ...]
    versions: Versions = Versions()

    def round(self, number: int) -> StagedRound:
        """Return a round with fresh hosts: their seeds follow from the run's and from the round."""
        opened = [executor := self.assembly.executor(self.build)]
        twin, twins = None, [host.twin for host in self.hosts if host.twin is not None]
        try:
            with waits_told(executor, self.assembly.config.executor.name):
                rollout = self._rollout(executor, [host.name for host in self.hosts], self.policy, number)
            if twins:
                beside = (
                    executor.sibling() if isinstance(executor, SharesWorkers) else self.assembly.executor(self.build)
                )
                opened.append(beside)
                twin = self._rollout(beside, twins, NULL, number)
        except BaseException:
            for one in opened:
                one.close()
            raise
        return StagedRound(number=number, rollout=rollout, twin=twin, epochs=self.assembly.config.epochs)

    def checkpoint(self, staged: StagedRound, over: list[dict[str, Any]], hub: Hub) -> Checkpoint:
        """Return the training as it stands in a round; what it has said is with the sinks by then.

        Args:
            staged: the round.
            over: what is known of the rounds before.
            hub: where its events go.
        """
        hub.flush()
        rollouts = rollouts_of(staged)
        reports = [report for rollout in rollouts for report in rollout.reports]
        states = [state for rollout in rollouts for state in rollout.capture()]
        policies = {rollout.reports[0].host: rollout.policy_state() for rollout in rollouts}
        return Checkpoint(
            epoch=staged.rollout.epoch,
            round=staged.number,
            hosts={report.host: state for report, state in zip(reports, states, strict=True)},
            loop={rollout.reports[0].host: rollout.state() for rollout in rollouts}
            | {ROUNDS: LoopState(record={"over": over})},
            policies={name: state for name, state in policies.items() if state is not None},
            sequence=hub.next_number,
            healthy=all(report.governor is GovernorMode.NORMAL for report in reports),
            sinks=plain(hub.counts()),
            telemetry=plain(hub.telemetry),
        )

    def restore(self, staged: StagedRound, checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """Bring a fresh round to where a checkpoint was; return what is known of the rounds before."""
        saved = checkpoint.loop[ROUNDS].record["over"] if ROUNDS in checkpoint.loop else []
        over = structure(list[_RoundOver], saved)
        if [it.round for it in over] != [*range(staged.number)]:
            raise ValueError(f"what it says of rounds that are over is not of the {staged.number} before this one")
        for rollout in rollouts_of(staged):
            states = [checkpoint.hosts[report.host] for report in rollout.reports]
            name = rollout.reports[0].host
            rollout.restore(states, checkpoint.loop[name], checkpoint.policies.get(name))
        return [{name: value for name, value in plain(it).items() if value is not None} for it in over]

    def _rollout(self, executor: Executor, names: Sequence[str], policy: Policy, number: int) -> Rollout:
        config, grows = self.assembly.config, policy is not NULL
        if grows and (version := self.versions.version(number)) is not None:
            policy = evolve(policy, name=f"{version} {policy.name.partition(' ')[2]}")
        place = number if self.versions.cycle is None else number % self.versions.cycle
        plans = [
            evolve(self.assembly.plan(name, index), seed=round_seed(host.seed, place))
            for index, (name, host) in enumerate(zip(names, self.hosts, strict=True))
        ]
        services = self.services
        if grows:
            executor, policy, services = guarded(self.assembly, executor, policy, services)
        return Rollout(
            executor,
            policy,
            plans=plans,
            epochs=config.epochs,
            random_guess_loss=self.assembly.task.random_guess_loss,
            services=services,
            terms=self.assembly.terms if grows else (),
            gamma=config.rewards.gamma,
            number=number,
        )


def rollouts_of(staged: StagedRound) -> tuple[Rollout, ...]:
    """Return the growing rollout of a round, and the twins' if there are some."""
    return (staged.rollout,) if staged.twin is None else (staged.rollout, staged.twin)


def refuse_idle_training(assembly: Assembly) -> None:
    """Check that there is something to learn, and somebody who does. Raises EsperError E202.

    Rewards compare a host with its twin after each epoch; a control of equal compute, which is trained when a round is
    over, could not be a part of them, and would cost as much as the round.
    """
    config = assembly.config
    spec = assembly.registry.get(PolicySpec.kind, config.policy.name).spec
    if Capability.LEARNS not in spec.capabilities:
        what, fix = f'the policy "{spec.name}" does not learn', "train one that does, such as ppo: --policy ppo"
        raise EsperError("E202", what, where="policy.name", fix=fix)
    refuse_compute_control(assembly, "a policy is trained")
    refuse_not_waiting(assembly.config, "a policy is trained")
    if not assembly.terms:
        what, fix = "there is no reward to learn from", "name a preset: --set rewards.preset=shaped"
        raise EsperError("E202", what, where="rewards", fix=fix)


def at_the_end(trajectories: tuple[Trajectory, ...]) -> dict[str, Any]:
    """Return what was measured on the validation split at the end of each host's trajectory, and of its twin's."""
    ends = {it.host: it.steps[-1] for it in trajectories}
    return {host: {"grown": _figures(step.after), "twin": _figures(step.twin)} for host, step in ends.items()}


def _figures(evidence: Evidence | None) -> dict[str, float | None] | None:
    if evidence is None:
        return None
    figures = {"accuracy": evidence.validation.accuracy, "loss": evidence.validation.loss}
    return {name: value if isfinite(value) else None for name, value in figures.items()}
