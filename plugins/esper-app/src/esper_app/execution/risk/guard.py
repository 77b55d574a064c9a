"""What stands between a loop and its hosts, its policy and its events, where a run judges more than its hosts do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import evolve, field, frozen

from esper_app.execution.assembly import Assembly
from esper_app.execution.policy_files import TENSORS
from esper_app.execution.risk.figures import DECISION, MachineFigures
from esper_app.execution.risk.host_risk import HostRisk, denied
from esper_core.leyline.actions import Action, GovernorMode, Transition
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.executors import Executor, Plan
from esper_core.leyline.learning import Decision, Explanation, PolicyState, Round, Situation
from esper_core.leyline.protocols import Services
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.tamiyo.policy import Policy

#: The key of a host's saved record that is the run's, not the host's.
_KEY = "risk"


class Risk:
    """The risk of all hosts of a rollout.

    The run's evaluators are asked about each host after each epoch, with its evidence and what the run knows; the
    strictest vote decides, as a host's own governor decides on its evaluators' votes. What the run is conservative
    about or has no quota for is denied before it reaches the host, and is left out of what is possible. One host for
    which the run votes to stop stops all: what it knows beside the evidence is of its policy and of the machine.

    Args:
        assembly: of the run.

    Attributes:
        hosts: by name.
        known: of the run, by name.
    """

    def __init__(self, assembly: Assembly) -> None:
        self.hosts: dict[str, HostRisk] = {}
        self.known: dict[str, float] = {}
        self._assembly = assembly
        saved = assembly.config.policy.saved
        tensors = None if saved is None else Path(saved).with_suffix(TENSORS)
        self._machine = MachineFigures(assembly.config.device, tensors)

    @property
    def stopped(self) -> str:
        """Why the run stops all hosts; "" if it does not."""
        found = [it for it in self.hosts.values() if it.governor.mode is GovernorMode.STOPPED]
        return f"the run stops: {found[0].governor.reason}, on {found[0].last.host}" if found else ""

    def begin(self, reports: Sequence[HostReport]) -> None:
        """Begin with hosts that have just been built."""
        config = self._assembly.config
        for report in reports:
            self.hosts[report.host] = HostRisk.of(
                report,
                config.governor,
                self._assembly.run_evaluators,
                random_guess_loss=self._assembly.task.random_guess_loss,
                gamma=config.rewards.gamma,
            )

    def observe(self, reports: Sequence[HostReport]) -> None:
        """Take in an epoch."""
        if self._assembly.run_evaluators:
            self.known |= self._machine.by_name()
        for report in reports:
            self.hosts[report.host].observe(report, self.known)

    def shown(self, reports: Sequence[HostReport]) -> list[HostReport]:
        """Return reports with what the run allows, in the same order."""
        stopped = self.stopped
        return [self.hosts[report.host].shown(stopped) for report in reports]


@frozen
class GuardedExecutor:
    """An executor whose hosts do what their run allows."""

    inner: Executor
    risk: Risk

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the hosts."""
        self.risk.begin(reports := self.inner.open(plans))
        return self.risk.shown(reports)

    def reports(self) -> list[HostReport]:
        """Return how they stand."""
        return self.risk.shown(self.inner.reports())

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host those of its actions that the run lets through."""
        hosts = [*self.risk.hosts.values()]
        stopped = self.risk.stopped
        why = [[stopped or it.review(one) for one in asked] for it, asked in zip(hosts, actions, strict=True)]
        passed = [
            [one for one, reason in zip(*both, strict=True) if not reason] for both in zip(actions, why, strict=True)
        ]
        applied = self.inner.apply(passed)
        answers = []
        for it, asked, reasons, through, results in zip(hosts, actions, why, passed, applied, strict=True):
            it.applied(through, results)
            following = iter(results)
            pairs = zip(asked, reasons, strict=True)
            answers.append([denied(one, reason) if reason else next(following) for one, reason in pairs])
        return answers

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Train every host for one epoch, and judge it."""
        self.risk.observe(reports := self.inner.epoch(references))
        return self.risk.shown(reports)

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        return self.inner.finish()

    def capture(self) -> list[HostState]:
        """Return every host's state, with what the run thinks of it."""
        both = zip(self.inner.capture(), self.risk.hosts.values(), strict=True)
        return [evolve(state, record={**state.record, _KEY: it.record()}) for state, it in both]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host, and what the run thinks of it, to a captured state. Raises EsperError E502."""
        if any(_KEY not in it.record for it in states):
            why = "it was saved by a run without quotas and evaluators of the run"
            raise EsperError("E502", "the saved state does not fit this run", why=why, fix="go on with its settings")
        bare = [evolve(it, record={key: of for key, of in it.record.items() if key != _KEY}) for it in states]
        reports = self.inner.restore(bare)
        for report, state in zip(reports, states, strict=True):
            self.risk.hosts[report.host].restore(state.record[_KEY], report)
        return self.risk.shown(reports)

    def close(self) -> None:
        """Let go of the hosts."""
        self.inner.close()


@frozen(kw_only=True)
class WatchedPolicy(Policy):
    """A policy that is asked what it thinks before it decides, and timed while it does.

    Attributes:
        inner: the policy.
        risk: is told.
    """

    inner: Policy
    risk: Risk

    def __attrs_post_init__(self) -> None:
        """What `inner` declares has been looked at."""

    def reset(self, begun: Round) -> None:
        """Begin a round."""
        self.inner.reset(begun)

    def decide(self, situations: Sequence[Situation]) -> list[Decision]:
        """Decide as the policy does."""
        for it in situations:
            self.risk.hosts[it.host].policy.thinks(self.inner.explain(it))
        began = perf_counter()
        decisions = self.inner.decide(situations)
        self.risk.known[DECISION] = perf_counter() - began
        return decisions

    def explain(self, situation: Situation) -> Explanation | None:
        """Return what it thinks."""
        return self.inner.explain(situation)

    def learn(self, trajectories: Any) -> Mapping[str, float]:
        """Learn as it does."""
        return self.inner.learn(trajectories)

    def forget(self, host: str) -> None:
        """Let it forget a host."""
        self.inner.forget(host)

    def state(self) -> PolicyState | None:
        """Return its memory."""
        return self.inner.state()

    def restore(self, state: PolicyState | None) -> None:
        """Let it go on from such a memory."""
        self.inner.restore(state)


@frozen
class OverheardServices:
    """Where events go, heard for the rewards."""

    inner: Services
    risk: Risk = field(repr=False)

    def emit(self, event: Event) -> None:
        """Hand an event on."""
        if event.kind == EventKind.REWARD_COMPUTED and event.host in self.risk.hosts:
            self.risk.hosts[event.host].policy.reward = float(event.data["total"])
        self.inner.emit(event)

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        """Tell the observers."""
        self.inner.epoch_end(host, evidence)

    def seed_transition(self, host: str, transition: Transition) -> None:
        """Tell the observers."""
        self.inner.seed_transition(host, transition)

    def should_stop(self) -> bool:
        """Say whether somebody asked to stop."""
        return self.inner.should_stop()


def guarded(
    assembly: Assembly, executor: Executor, policy: Policy, services: Services
) -> tuple[Executor, Policy, Services]:
    """Return what a rollout of hosts that may grow is made of; as it is where the run judges nothing."""
    quotas = assembly.config.governor.has_quotas
    if not quotas and not assembly.run_evaluators:
        return executor, policy, services
    risk = Risk(assembly)
    if assembly.run_evaluators:
        policy = WatchedPolicy(
            actor=policy.actor, name=policy.name, capabilities=policy.capabilities, inner=policy, risk=risk
        )
        services = OverheardServices(services, risk)
    return GuardedExecutor(executor, risk), policy, services
