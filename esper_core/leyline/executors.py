"""Where growing hosts run: what an executor is given, and what it must do."""

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any, Protocol, TypeVar, runtime_checkable

from attrs import evolve, frozen

from esper_core.leyline.actions import Action, GovernorMode, Verdict
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState

Answer = TypeVar("Answer")


@frozen(kw_only=True)
class Plan:
    """What one growing host is made of, as plain data: a `HostBuilder` makes the host of it, in any process.

    Attributes:
        name: the host's name in the run.
        seed: of initial weights, data order, and everything else that is random. A host's twin has the same.
        config: the configuration of the run, in the shape of a configuration file.
    """

    name: str
    seed: int
    config: Mapping[str, Any]


class Host(Protocol):
    """One growing host, whatever trains it."""

    def report(self) -> HostReport:
        """Return how it stands and what came of the epoch that has just run. Asking again gives the same."""
        ...

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        ...

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Bring one epoch to its end; `reference` is the twin's evidence for it."""
        ...

    def finish(self) -> FinalReport:
        """Sum it up. Asking again gives the same figures."""
        ...

    def capture(self) -> HostState:
        """Return its state, between two epochs."""
        ...

    def restore(self, state: HostState) -> None:
        """Bring it to a captured state. Raises EsperError E502 if the state does not fit it."""
        ...


#: Makes the host of a plan. The application provides it. It can be pickled: weights and plugins are loaded where it is
#: called, once in each process. It may have a method ``preload(plan)``, which loads what hosts share in a process that
#: others are forked from: it starts no thread there and touches no device but the CPU. And it may have a method
#: ``made_by(make)``, which returns a builder of hosts that `make` makes of their parts, a `tolaria.host.HostPlan`; it
#: can be pickled where `make` can.
HostBuilder = Callable[[Plan], Host]


class Executor(Protocol):
    """Runs several growing hosts in step; ``factory(config, build: HostBuilder) -> Executor``.

    All lists are in the order of the plans. A host that raises has failed: that is a result, not an exception. Its
    reports have a `failure` and no evidence, its actions are denied, and the other hosts go on. `HostRunner` makes one
    host behave so.
    """

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the hosts and return how they stand. Raises whatever keeps one from being built; called once."""
        ...

    def reports(self) -> list[HostReport]:
        """Return how the hosts stand and what came of the last epoch. Asking again gives the same."""
        ...

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        """Give each host its actions, in order."""
        ...

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Train every host for one epoch; for each the twin's evidence for it, if there is a twin."""
        ...

    def finish(self) -> list[FinalReport]:
        """Sum every host up."""
        ...

    def capture(self) -> list[HostState]:
        """Return every host's state, between two epochs."""
        ...

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        """Bring every host to a captured state. Raises EsperError E502 if a state does not fit its host."""
        ...

    def close(self) -> None:
        """Let go of hosts and processes. It may be called at any time, also before `open`, and more than once."""
        ...


@runtime_checkable
class SharesWorkers(Protocol):
    """An executor that can run further hosts, which go through their epochs by themselves, such as twins."""

    def sibling(self) -> Executor:
        """Return another executor that uses the same processes: the one that is closed last ends them."""
        ...


class FailedHost:
    """A host that has failed: it does nothing more, and says why.

    Args:
        last: its last report.
        reason: why it has failed.
        cause: what it raised, if that is known.
    """

    def __init__(self, last: HostReport, reason: str, cause: Exception | None = None) -> None:
        self._report = evolve(
            last,
            masks=evolve(last.masks, germinate={}, cull=frozenset()),
            governor=GovernorMode.STOPPED,
            governor_reason=f"the host has failed: {reason}",
            evidence=None,
            transitions=(),
            findings=(),
            seed_reports=(),
            notices=(),
            failure=reason,
            cause=cause,
        )

    def report(self) -> HostReport:
        """Return how the host stands: stopped, and without evidence."""
        return self._report

    def apply(self, actions: Sequence[Action]) -> list[ApplyReport]:
        """Deny the actions."""
        reason = self._report.governor_reason
        return [ApplyReport(verdict=Verdict(action_id=it.id, allowed=False, reason=reason)) for it in actions]

    def finish(self) -> FinalReport:
        """Sum the host up: nothing is measured, its figures are NaN."""
        return FinalReport(
            host=self._report.host,
            epochs=self._report.epoch,
            test=EpochMetrics(loss=nan, accuracy=nan, samples=0),
            parameters=self._report.parameters,
            host_parameters=self._report.host_parameters,
            forward_flops=None,
            train_seconds=nan,
            measure_seconds=nan,
            failure=self._report.failure,
        )

    def capture(self) -> HostState:
        """Return the reason and the host's sizes."""
        kept = ("failure", "epoch", "parameters", "host_parameters")
        return HostState(tensors={}, record={name: getattr(self._report, name) for name in kept})


class HostRunner:
    """One host of an executor, in the process that it lives in: what the host raises becomes a result with a reason.

    Args:
        plan: the host's.
        build: makes it.

    Raises:
        Exception: whatever keeps the host from being built.
    """

    def __init__(self, plan: Plan, build: HostBuilder) -> None:
        self._plan = plan
        self._build = build
        self._host = build(plan)
        self._last = self._host.report()
        self._failed: FailedHost | None = None

    def report(self) -> HostReport:
        """Return how the host stands; asking again gives the same."""
        return (self._failed or self._host).report()

    def apply(self, actions: Sequence[Action]) -> list[ApplyReport]:
        """Give the host its actions, in order. Those of a failed host are denied."""
        return [self._apply(action) for action in actions]

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Train the host for one epoch. A failed one does nothing."""
        self._last = self._call(lambda host: host.epoch(reference), FailedHost.report)
        return self._last

    def finish(self) -> FinalReport:
        """Sum the host up; see `FailedHost.finish`."""
        return self._call(lambda host: host.finish(), FailedHost.finish)

    def capture(self) -> HostState:
        """Return the host's state; of a failed one the reason and its sizes."""
        return (self._failed or self._host).capture()

    def restore(self, state: HostState) -> HostReport:
        """Bring the host to a captured state, a failed one too. Raises EsperError E502 if the state does not fit."""
        if self._failed is not None:
            self._host, self._failed = self._build(self._plan), None
        if "failure" in state.record:
            self._failed = FailedHost(evolve(self._host.report(), **state.record), state.record["failure"])
        else:
            self._host.restore(state)
            self._last = self._host.report()
        return self.report()

    def _apply(self, action: Action) -> ApplyReport:
        return self._call(lambda host: host.apply(action), lambda failed: failed.apply([action])[0])

    def _call(self, call: Callable[[Host], Answer], failed: Callable[[FailedHost], Answer]) -> Answer:
        if self._failed is None:
            try:
                return call(self._host)
            except Exception as error:
                reason = error.what if isinstance(error, EsperError) else summary(error)
                self._failed = FailedHost(self._last, reason, error)
        return failed(self._failed)
