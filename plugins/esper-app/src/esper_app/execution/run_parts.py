"""The parts of a run that go through its epochs: hosts, twins, controls, sinks; saved and restored."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from esper_app.execution.assembly import Assembly, build_sinks
from esper_app.execution.checkpoint import Checkpoint, damaged
from esper_app.execution.compute_control import Control, controls, missing
from esper_app.execution.host_builder import RunHostBuilder
from esper_app.execution.progress import Progress
from esper_app.execution.risk.guard import guarded
from esper_app.execution.run_bus import BUS, RunBus, run_bus
from esper_app.execution.run_hosts import RunHost, run_hosts
from esper_app.execution.waiting import waits_told
from esper_app.execution.watch import Watch
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.executors import Executor, Plan, SharesWorkers
from esper_core.leyline.protocols import Services
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport
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


@define(kw_only=True)
class RunParts:
    """What one run is made of, wired.

    Attributes:
        hosts: those that may grow, in the order of `rollout`; their twins are in the same order in `twin`.
        beside: makes one more executor, which shares its workers with the others where that is possible.
        controls: what is trained when the growing is over; none before that.
        control: its rollout.
        bus: takes what the run says; None: the run has none.
    """

    assembly: Assembly
    context: RunContext
    rollout: Rollout
    twin: Rollout | None
    hosts: tuple[RunHost, ...]
    watch: Watch | None
    beside: Callable[[], Executor]
    controls: tuple[Control, ...] = ()
    control: Rollout | None = None
    bus: RunBus | None = None

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
        if (bus := run_bus(config, plugins)) is not None:
            sinks[BUS] = bus.sink
        used = frozenset(registered.origin.plugin for registered in assembly.used)
        limits = QueueLimits(capacity=config.sinks.capacity, when_full=config.sinks.when_full)
        hub = Hub(
            sinks, rules=config.telemetry, strict=strict, in_step=watch is not None, first=first_event, limits=limits
        )
        context = RunContext(hub, plugins, used, listeners=() if bus is None else (bus.hear,))
        build = RunHostBuilder.of(plugins, assembly, Progress(hub))
        hosts, opened = run_hosts(config), [executor := assembly.executor(build)]
        twin, twins = None, [it.twin for it in hosts if it.twin is not None]

        def beside() -> Executor:
            return executor.sibling() if isinstance(executor, SharesWorkers) else assembly.executor(build)

        try:
            names = [it.name for it in hosts]
            with waits_told(executor, config.executor.name):
                rollout = _rollout(assembly, executor, context, _plans(assembly, names), policy, assembly.terms)
            if twins:
                opened.append(beside())
                twin = _rollout(assembly, opened[-1], context, _plans(assembly, twins), NULL)
        except BaseException:
            for one in opened:
                one.close()
            raise
        return cls(
            assembly=assembly,
            context=context,
            rollout=rollout,
            twin=twin,
            hosts=hosts,
            watch=watch,
            beside=beside,
            bus=bus,
        )

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """The growing one, and the twins' and the controls' if there are any."""
        return tuple(it for it in (self.rollout, self.twin, self.control) if it is not None)

    def begin_controls(self, finals: Sequence[FinalReport]) -> None:
        """Make the controls of equal compute ready, if the configuration wants some: the growing is over.

        Args:
            finals: of the hosts that could grow, in order.
        """
        if not self.assembly.config.twin.equal_compute:
            return
        self.controls = controls(self.assembly, self.hosts, finals)
        if self.controls:
            plans = [control.plan(self.assembly) for control in self.controls]
            executor = self.beside()
            try:
                self.control = _rollout(self.assembly, executor, self.context, plans, NULL)
            except BaseException:
                executor.close()
                raise

    def tell_of_controls(self, finals: Sequence[FinalReport]) -> None:
        """Say which controls are trained from now on, and which cannot be."""
        if self.assembly.config.twin.equal_compute:
            for said in [*(control.in_words() for control in self.controls), *missing(self.controls, finals)]:
                self.context.emit(Event(kind=EventKind.NOTICE, data={"message": said}))

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
            _restore(rollout, checkpoint)
        if checkpoint.epoch > self.assembly.config.epochs:
            self.begin_controls(self.rollout.finish())
            if self.control is None:
                raise ValueError("it stands behind the run's last epoch, and there is no control to train")
            _restore(self.control, checkpoint)
        self.context.hub.restore_counts(checkpoint.sinks)
        self.context.hub.restore_telemetry(checkpoint.telemetry)


def _restore(rollout: Rollout, checkpoint: Checkpoint) -> None:
    states = [checkpoint.hosts[report.host] for report in rollout.reports]
    name = rollout.reports[0].host
    rollout.restore(states, checkpoint.loop[name], checkpoint.policies.get(name))


def _plans(assembly: Assembly, names: Sequence[str]) -> list[Plan]:
    return [assembly.plan(name, index) for index, name in enumerate(names)]


def _rollout(
    assembly: Assembly,
    executor: Executor,
    context: RunContext,
    plans: Sequence[Plan],
    policy: Policy,
    terms: Sequence[WeightedTerm] = (),
) -> Rollout:
    """Hosts that grow have reward terms; twins and controls have none, and nothing that they could be denied."""
    services: Services = context
    if policy is not NULL:
        executor, policy, services = guarded(assembly, executor, policy, context)
    return Rollout(
        executor,
        policy,
        plans=plans,
        epochs=max(int(plan.config["epochs"]) for plan in plans),
        random_guess_loss=assembly.task.random_guess_loss,
        services=services,
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
