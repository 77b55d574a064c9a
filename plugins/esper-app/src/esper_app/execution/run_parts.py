"""The parts of a run that go through its epochs: hosts, twins, sinks; saved and restored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from esper_app.execution.assembly import Assembly, build_sinks
from esper_app.execution.checkpoint import Checkpoint, damaged
from esper_app.execution.host_builder import RunHostBuilder
from esper_app.execution.progress import Progress
from esper_app.execution.run_hosts import RunHost, run_hosts
from esper_app.execution.watch import Watch
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.executors import Executor, SharesWorkers
from esper_core.leyline.records import plain
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.rewards import WeightedTerm
from esper_core.simic.rollout import Rollout
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy
from esper_nissa.context import RunContext
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import QueueLimits
from esper_runs.reading import why_unreadable

#: The twin's policy.
NULL = Policy(actor=NullActor(), name="null")

#: What a value of a saved state is refused with: an unknown key, or another type.
_VALUES = frozenset({"E201", "E202"})


@frozen(kw_only=True)
class RunParts:
    """What one run is made of, wired.

    Attributes:
        hosts: those that may grow, in the order of `rollout`; their twins are in the same order in `twin`.
    """

    assembly: Assembly
    context: RunContext
    rollout: Rollout
    twin: Rollout | None
    hosts: tuple[RunHost, ...]
    watch: Watch | None

    @classmethod
    def of(
        cls,
        assembly: Assembly,
        plugins: PluginSet,
        *,
        policy: Policy,
        first_event: int,
        strict: bool,
        watch: Watch | None,
    ) -> "RunParts":
        """Wire hosts, sinks and observers of an assembly together, under a policy."""
        config = assembly.config
        sinks = build_sinks(config, plugins.registry)
        if watch is not None:
            sinks = watch.over_sinks(sinks, plugins.registry)
        used = frozenset(registered.origin.plugin for registered in assembly.used)
        limits = QueueLimits(capacity=config.sinks.capacity, when_full=config.sinks.when_full)
        hub = Hub(
            sinks, rules=config.telemetry, strict=strict, in_step=watch is not None, first=first_event, limits=limits
        )
        context, build = RunContext(hub, plugins, used), RunHostBuilder.of(plugins, assembly, Progress(hub))
        hosts, opened = run_hosts(config), [executor := assembly.executor(build)]
        twin, twins = None, [it.twin for it in hosts if it.twin is not None]
        try:
            rollout = _rollout(assembly, executor, context, [it.name for it in hosts], policy, assembly.terms)
            if twins:
                beside = executor.sibling() if isinstance(executor, SharesWorkers) else assembly.executor(build)
                opened.append(beside)
                twin = _rollout(assembly, beside, context, twins, NULL)
        except BaseException:
            for one in opened:
                one.close()
            raise
        return cls(assembly=assembly, context=context, rollout=rollout, twin=twin, hosts=hosts, watch=watch)

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """The growing one, and the twins' if there are any."""
        return (self.rollout,) if self.twin is None else (self.rollout, self.twin)

    def checkpoint(self, epoch: int) -> Checkpoint:
        """Return the run as it stands before `epoch`; what it has said is with the sinks by then."""
        self.context.hub.flush()
        return Checkpoint(
            epoch=epoch,
            hosts={
                report.host: state
                for rollout in self.rollouts
                for report, state in zip(rollout.reports, rollout.capture(), strict=True)
            },
            loop={rollout.reports[0].host: rollout.state() for rollout in self.rollouts},
            policies={
                rollout.reports[0].host: state
                for rollout in self.rollouts
                if (state := rollout.policy_state()) is not None
            },
            sequence=self.context.hub.next_number,
            healthy=all(r.governor is GovernorMode.NORMAL for rollout in self.rollouts for r in rollout.reports),
            sinks=plain(self.context.hub.counts()),
            telemetry=plain(self.context.hub.telemetry),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Bring hosts, policies and loops to where a checkpoint was."""
        for rollout in self.rollouts:
            states = [checkpoint.hosts[report.host] for report in rollout.reports]
            name = rollout.reports[0].host
            rollout.restore(states, checkpoint.loop[name], checkpoint.policies.get(name))
        self.context.hub.restore_counts(checkpoint.sinks)
        self.context.hub.restore_telemetry(checkpoint.telemetry)


def _rollout(
    assembly: Assembly,
    executor: Executor,
    context: RunContext,
    names: Sequence[str],
    policy: Policy,
    terms: Sequence[WeightedTerm] = (),
) -> Rollout:
    """Hosts that grow have reward terms; twins have none."""
    return Rollout(
        executor,
        policy,
        plans=[assembly.plan(name, index) for index, name in enumerate(names)],
        epochs=assembly.config.epochs,
        random_guess_loss=assembly.task.random_guess_loss,
        services=context,
        terms=terms,
        gamma=assembly.config.rewards.gamma,
    )


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Bring something to a checkpoint. What its content leads to, in plugins too, is not a fault of the code.

    Raises:
        EsperError: E509 if what it holds cannot be restored.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, EsperError) and error.code not in _VALUES:
            raise
        why = f"{error.what}, {error.why}" if isinstance(error, EsperError) else why_unreadable(error)
        raise damaged(path, f"what it holds cannot be restored: {why}") from error
