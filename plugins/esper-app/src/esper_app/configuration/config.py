"""The configuration of one run. Imports no torch."""

from collections.abc import Mapping
from math import inf
from typing import Any

from attrs import Attribute, field, fields, fields_dict, frozen, has, validators

from esper_app.configuration.checkpoints import CheckpointsConfig
from esper_app.configuration.component import ComponentConfig
from esper_app.configuration.modules import ModulesConfig, PrefetchConfig
from esper_app.configuration.plugins_section import PluginsConfig
from esper_app.configuration.policy import PolicyConfig
from esper_app.configuration.telemetry import TelemetryConfig
from esper_app.configuration.training import TrainingConfig
from esper_app.configuration.twin import Twin
from esper_app.configuration.validators import check_device, check_run_name, check_unique
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.records import plain
from esper_core.leyline.stages import GateLevel
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.governor import GovernorRules
from esper_nissa.queue_limits import CAPACITY, LEAST_CAPACITY, WhenFull
from esper_runs.run_directory import RUNS

#: The name of an executor that is chosen by what the run is and where it runs.
AUTO = "auto"

_POSITIVE = validators.and_(validators.instance_of(int), validators.ge(1))

#: Epochs in which germinations count against their quota.
_WINDOW_EPOCHS = 10


def _check_budget(_: "RunSettings", attribute: "Attribute[Any]", value: float | None) -> None:
    if value is not None and not (isinstance(value, int | float) and 0 < value < inf):
        raise ValueError(f"'{attribute.name}' must be a number above 0")


def _check_seeds(settings: "RunSettings", attribute: "Attribute[Any]", value: int) -> None:
    if settings.seed + value > 2**63:
        raise ValueError(f"'{attribute.name}' is {value}, and the last host's seed would not be below 2**63")


@frozen(kw_only=True)
class GatesConfig:
    """The checks in front of stage transitions.

    Attributes:
        name: the gate set.
        options: the options of each of its gates, by level.
    """

    name: str = "standard"
    options: Mapping[GateLevel, Mapping[str, Any]] = field(factory=dict)


@frozen(kw_only=True)
class RewardTermConfig(ComponentConfig):
    """One addend of the reward.

    Attributes:
        name: the term's name.
        weight: what its value is multiplied by.
        options: the term's options.
    """

    weight: float = 1.0


@frozen(kw_only=True)
class RewardsConfig:
    """The reward.

    Attributes:
        preset: terms that belong together, by name, such as ``shaped``, instead of `terms`; None: no preset.
        terms: its addends, in order; each a table with `name`, `weight` and the term's options.
        gamma: discount of a later epoch, above 0 and at most 1, for terms that are differences of potentials and for
            policies that learn.
    """

    preset: str | None = None
    terms: tuple[RewardTermConfig, ...] = ()
    gamma: float = field(default=0.995, validator=[validators.gt(0.0), validators.le(1.0)])


@frozen(kw_only=True)
class ExecutorConfig(ComponentConfig):
    """Where the hosts run; it never changes what comes of them.

    Attributes:
        name: the executor's name, or ``auto``: ``processes`` for several hosts where there are several processors, and
            ``serial`` otherwise.
        options: the executor's options.
    """

    name: str = AUTO


@frozen(kw_only=True)
class ComponentsConfig:
    """Several components of one kind by name.

    Attributes:
        names: the components, in order.
        options: the options of each, by name.
    """

    names: tuple[str, ...] = field(default=(), validator=check_unique)
    options: Mapping[str, Mapping[str, Any]] = field(factory=dict)


@frozen(kw_only=True)
class SinksConfig(ComponentsConfig):
    """Where telemetry goes.

    Attributes:
        names: the sinks.
        capacity: events that wait for one sink at most, at least 64.
        when_full: what happens when a sink does not keep up: ``block``, training waits for it; ``drop-oldest``,
            rewards, gates and diagnoses are dropped and counted, but nothing else; ``fail``, the run ends with E504.
        options: the options of each, by name.
    """

    names: tuple[str, ...] = field(default=("console", "jsonl"), validator=check_unique)
    capacity: int = field(default=CAPACITY, validator=[validators.instance_of(int), validators.ge(LEAST_CAPACITY)])
    when_full: WhenFull = WhenFull.BLOCK


@frozen(kw_only=True)
class GovernorConfig(GovernorRules):
    """Who votes on hosts, what follows from it, and how much a policy may ask for.

    Attributes:
        evaluators: vote after every epoch, and the strictest vote decides. With a loss that is not finite no host goes
            on in any case.
        germinations: quota of germinations on each host in the last `window_epochs` epochs; None: no quota.
        window_epochs: length of that window; with `germinations` only.
        commands_per_epoch: quota of commands on each host in one epoch, culls not counted; None: no quota.
        options: the options of each, by name.
    """

    evaluators: tuple[str, ...] = field(default=("divergence", "lobotomy", "not-finite"), validator=check_unique)
    germinations: int | None = field(default=None, validator=validators.optional(_POSITIVE))
    window_epochs: int = field(default=_WINDOW_EPOCHS, validator=_POSITIVE)
    commands_per_epoch: int | None = field(default=None, validator=validators.optional(_POSITIVE))
    options: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.germinations is None and self.window_epochs != _WINDOW_EPOCHS:
            raise ValueError("'window_epochs' belongs to a quota: set 'germinations' too")

    @property
    def has_quotas(self) -> bool:
        """There is a quota of some kind."""
        return self.germinations is not None or self.commands_per_epoch is not None


@frozen(kw_only=True)
class DiagnosticsConfig(ComponentsConfig):
    """What looks into the networks after each epoch.

    Attributes:
        names: the diagnostics, in the order in which they are asked.
        options: the options of each, by name.
    """


@frozen(kw_only=True)
class RunSettings:
    """What belongs to no section of the configuration.

    Attributes:
        seed: root of all random streams.
        hosts: how many networks grow side by side, under one policy, with the seeds `seed`, `seed` + 1 and so on.
        shared_batches: all hosts see the same batches in the same order, those of `seed`; initial weights and all else
            that is random are still their own.
        epochs: length of the run; with a budget (`flops`) the most epochs that it may have.
        flops: budget of floating-point operations of each host, everything included: the run is over with the epoch in
            which they are spent, and the learning rate and the share of the run that is over follow; None: none.
        batch_size: samples in a training batch.
        name: the run's name and directory; None: the task's name and the next free number.
        runs: the directory that holds the runs.
        twin: what the grown network is compared with: ``epochs``, a twin that never grows, trained beside it for as
            many epochs; ``compute``, a control that never grows either, trained afterwards with as many FLOPs as the
            host has spent, on a schedule of its own; ``both``; ``none``.
        threads: intra-op threads for each growing host; other counts give other bits.
        device: where the tensors live: ``cpu``, ``cuda``, ``cuda:1``, ``xpu`` or ``mps``.
        devices: spread the hosts over these devices in turn, each beside its twin; none: all are on `device`.
    """

    seed: int = field(default=0, validator=[validators.instance_of(int), validators.ge(0), validators.lt(2**63)])
    hosts: int = field(default=1, validator=[_POSITIVE, _check_seeds])
    shared_batches: bool = field(default=False, validator=validators.instance_of(bool))
    epochs: int = field(default=20, validator=_POSITIVE)
    flops: float | None = field(default=None, validator=_check_budget)
    batch_size: int = field(default=64, validator=_POSITIVE)
    name: str | None = field(default=None, validator=validators.optional(check_run_name))
    runs: str = RUNS
    twin: Twin = Twin.BOTH
    threads: int = field(default=1, validator=_POSITIVE)
    device: str = field(default="cpu", validator=check_device)
    devices: tuple[str, ...] = field(default=(), validator=[check_unique, validators.deep_iterable(check_device)])


@frozen(kw_only=True)
class RunConfig(RunSettings):
    """Everything that a run is made of; together with the plugins' versions it decides the result.

    Attributes:
        task: the data, loss and metric.
        host: the network that grows.
        policy: what decides, and its catalogue.
        blueprints: options of blueprints by name.
        gates: the checks in front of stage transitions.
        governor: who votes on hosts.
        lifecycle: durations and switches of a seed's life.
        limits: how far a host may grow.
        optimizer: optimizer and learning-rate schedule.
        training: precision, memory format and compilation.
        modules: where the modules of seeds come from.
        prefetch: how seeds wait for modules from a store.
        rewards: addends of the reward, in order.
        diagnostics: what looks into the networks after each epoch.
        telemetry: how much is told.
        sinks: where telemetry goes.
        executor: where the hosts run.
        checkpoints: how the run is saved while it goes on.
        plugins: which plugins may take part.
        further: the sections of kinds that plugins add, as far as they are given.
    """

    task: ComponentConfig
    host: ComponentConfig
    policy: PolicyConfig = field(factory=PolicyConfig)
    blueprints: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    gates: GatesConfig = GatesConfig()
    governor: GovernorConfig = GovernorConfig()
    lifecycle: LifecycleConfig = field(factory=LifecycleConfig)
    limits: GrowthLimits = field(factory=GrowthLimits)
    optimizer: OptimizerConfig = field(factory=OptimizerConfig)
    training: TrainingConfig = field(factory=TrainingConfig)
    modules: ModulesConfig = field(factory=ModulesConfig)
    prefetch: PrefetchConfig = field(factory=PrefetchConfig)
    rewards: RewardsConfig = RewardsConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    telemetry: TelemetryConfig = field(factory=TelemetryConfig)
    sinks: SinksConfig = SinksConfig()
    executor: ExecutorConfig = ExecutorConfig()
    checkpoints: CheckpointsConfig = field(factory=CheckpointsConfig)
    plugins: PluginsConfig = field(factory=PluginsConfig)
    further: Mapping[str, ComponentConfig | ComponentsConfig] = field(factory=dict)

    def tree(self) -> dict[str, Any]:
        """Return the configuration as plain data in the shape of a configuration file (None for what is not set)."""
        data: dict[str, Any] = plain(self)
        data["telemetry"]["level"] = self.telemetry.level.name.lower()
        data |= data.pop("further")
        for section in [key.name for key in fields(RunConfig) if is_section_of_components(key.type)] + [*self.further]:
            data[section] |= data[section].pop("options")
        terms = data["rewards"].pop("terms")
        if self.rewards.preset is None:  # else they follow from it
            data["rewards"]["terms"] = [term | term.pop("options") for term in terms]
        return data

    def section(self, name: str) -> Any:
        """Return a section; None if it is one of a kind that plugins add, and not given."""
        return self.further.get(name) or getattr(self, name, None)

    def names(self, kind: PluginKind) -> tuple[str, ...]:
        """Return the names of the components of a kind that it names: of the gate set, for gates."""
        if kind.section is None:
            return ()
        section, _, key = kind.section.named_at.partition(".")
        named = getattr(self.section(section), key, None)
        if isinstance(named, str):
            return (named,)
        return tuple(it if isinstance(it, str) else it.name for it in named or ())


def is_section_of_components(cls: Any) -> bool:
    """Say whether a section of this class holds the options of components beside keys of its own."""
    return has(cls) and "options" in fields_dict(cls)
