"""From a configuration and a set of plugins to everything that a run is made of."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from operator import methodcaller
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from esper_app.configuration.catalogue import catalogue_names
from esper_app.configuration.components import build_components, used_components
from esper_app.configuration.config import RunConfig
from esper_app.configuration.modules import COMPILER, STORE, ModulesConfig, PrefetchConfig
from esper_app.execution.data_check import checked
from esper_app.execution.numerics import RunNumerics, check_training
from esper_app.execution.run_modules import RunModules, run_modules
from esper_core.assembling.seed_factories import seed_factory
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.diagnostics import Diagnostic
from esper_core.leyline.errors import EsperError
from esper_core.leyline.executors import Executor, HostBuilder, Plan
from esper_core.leyline.protocols import Actor, DataShape, Evaluator, Gate, HostBuild, Sink, Split, Splits, Task
from esper_core.leyline.specs import (
    Capability,
    DiagnosticSpec,
    EvaluatorSpec,
    ExecutorSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_core.simic.rewards import WeightedTerm
from esper_core.tamiyo.policy import Policy
from esper_core.tolaria.host import HostPlan
from esper_runs.result import is_twin


@frozen(kw_only=True)
class Assembly:
    """The parts of one run.

    Attributes:
        config: the run's configuration.
        used: every component that it uses.
        task, splits: what is learned.
        host: makes the network.
        seed_factories: the catalogue, ready to be built.
        gates: the gate set.
        evaluators: vote for each host's governor, by name.
        run_evaluators: vote for the run on each host, by name.
        terms: the reward.
        diagnostics: what looks into the networks, by name.
        modules: what the modules of seeds come from; None: their blueprints build them.
    """

    config: RunConfig
    registry: Registry
    used: tuple[Registered, ...]
    task: Task
    splits: Splits
    host: Callable[[], HostBuild]
    seed_factories: Mapping[str, SeedFactory]
    gates: Mapping[GateLevel, Gate]
    evaluators: Mapping[str, Evaluator]
    run_evaluators: Mapping[str, Evaluator]
    terms: tuple[WeightedTerm, ...]
    diagnostics: Mapping[str, Diagnostic]
    modules: RunModules | None = None

    @property
    def catalogue(self) -> Catalogue:
        """The blueprints that may be germinated."""
        return Catalogue(tuple(seed_factory.entry for seed_factory in self.seed_factories.values()))

    def policy(self) -> Policy:
        """Build the policy.

        Raises:
            EsperError: E530 if its actor does not offer what its descriptor declares.
        """
        section = self.config.policy
        return built_policy(self.registry, section.name, section.options, self.catalogue, section.version)

    def executor(self, build: HostBuilder) -> Executor:
        """Build an executor, which makes its hosts with `build`.

        Raises:
            EsperError: E161 if it cannot run here.
        """
        registered = self.registry.get(ExecutorSpec.kind, self.config.executor.name)
        options = build_config(registered, self.config.executor.options, path="executor")
        executor: Executor = resolve(registered)(options, build)
        return executor

    def plan(self, name: str, index: int = 0) -> Plan:
        """Return what a growing host of this run is made of, as plain data.

        Args:
            name: the host's.
            index: which of the run's hosts it is, or the twin of which.
        """
        config, devices = self.config.tree(), self.config.devices
        if devices:
            config["device"] = devices[index % len(devices)]
        if is_twin(name):  # what never grows is trained for a number of epochs
            config["flops"] = None
        return Plan(name=name, seed=self.config.seed + index, config=config)

    def host_plan(self, plan: Plan) -> HostPlan:
        """Return the parts of one growing host, in the process that it lives in."""
        return HostPlan(
            name=plan.name,
            build=self.host,
            capabilities=self.registry.get(HostSpec.kind, self.config.host.name).spec.capabilities,
            task=self.task,
            splits=self.splits,
            seed_factories=self.seed_factories,
            gates=self.gates,
            evaluators=self.evaluators,
            governor=self.config.governor,
            lifecycle=self.config.lifecycle,
            limits=self.config.limits,
            optimizer=self.config.optimizer,
            epochs=self.config.epochs,
            flops=self.config.flops,
            batch_size=self.config.batch_size,
            seed=plan.seed,
            data_seed=self.config.seed if self.config.shared_batches else None,
            diagnostics=self.diagnostics,
            numerics=partial(RunNumerics, self.config.training, self.splits.train.inputs),
            modules=None
            if self.modules is None
            else partial(self.modules.host, self.splits.train.inputs[:2], name=plan.name),
        )


def built_policy(
    registry: Registry, name: str, options: Mapping[str, Any], catalogue: Catalogue, version: str | None = None
) -> Policy:
    """Build a policy.

    Args:
        registry: the loaded plugins.
        name: the component's.
        options: its options, as plain data.
        catalogue: the blueprints that it may germinate.
        version: of the saved policy that it goes on from; its name in the record begins with it.

    Raises:
        EsperError: E204 for an unknown name, E201, E202 for wrong options, E530 if its actor does not offer what its
            descriptor declares.
    """
    registered = registry.get(PolicySpec.kind, name)
    actor: Actor = resolve(registered)(build_config(registered, options, path="policy"), catalogue)
    return Policy(
        actor=actor,
        name=f"{version or registered.spec.name} ({registered.origin.title})",
        capabilities=registered.spec.capabilities,
    )


def assemble(config: RunConfig, plugins: PluginSet, load: Callable[[Task], Splits] = methodcaller("load")) -> Assembly:
    """Resolve every component that the configuration names, and load the data.

    Args:
        config: the run's configuration.
        plugins: the selected plugins.
        load: loads the data of a task.

    Raises:
        EsperError: whatever keeps a component from being there: E160, E161, E204, E301, E302, E404; E202 for a device
            that is not there, or cannot compute as `training` says.
    """
    for device in (config.device, *config.devices):
        _check_device(device)
        check_training(config.training, device)
    registry = plugins.registry
    task_component = registry.get(TaskSpec.kind, config.task.name)
    task: Task = resolve(task_component)(build_config(task_component, config.task.options, path="task"))
    host_component = registry.get(HostSpec.kind, config.host.name)
    assert isinstance(host_component.spec, HostSpec)
    names = catalogue_names(config, registry)
    _refuse_idle_options(config, names)
    judges = partial(_judges_run, registry)
    evaluators = build_components(registry.kind(EvaluatorSpec.kind), config, registry)
    return Assembly(
        config=config,
        registry=registry,
        used=used_components(config, registry, names),
        task=task,
        splits=_on_device(checked(config.task.name, load(task), task.shape), config.device),
        host=partial(
            _build_host,
            resolve(host_component),
            build_config(host_component, config.host.options, path="host"),
            task.shape,
        ),
        seed_factories={name: seed_factory(registry, name, config.blueprints.get(name, {})) for name in names},
        gates={
            level: resolve(gate)(build_config(gate, config.gates.options.get(level, {}), path=f"gates.{level}"))
            for level, gate in registry.gate_set(config.gates.name).items()
        },
        evaluators={name: it for name, it in evaluators.items() if not judges(name)},
        run_evaluators={name: it for name, it in evaluators.items() if judges(name)},
        diagnostics=build_components(registry.kind(DiagnosticSpec.kind), config, registry),
        terms=tuple(_term(config, registry, index) for index in range(len(config.rewards.terms))),
        modules=run_modules(config, plugins, names),
    )


def with_local_modules(assembly: Assembly, replayed: RunModules | None = None) -> Assembly:
    """Return the same run with seeds that their blueprints build: what is repeated writes to no store either.

    With `replayed` they come when that says.
    """
    further = {name: it for name, it in assembly.config.further.items() if name not in (STORE, COMPILER)}
    config = evolve(assembly.config, modules=ModulesConfig(), prefetch=PrefetchConfig(), further=further)
    return evolve(assembly, config=config, modules=replayed)


def _refuse_idle_options(config: RunConfig, names: Collection[str]) -> None:
    for name in config.blueprints:
        if name not in names:
            raise EsperError(
                "E202",
                f'"blueprints.{name}" sets options of a blueprint that the run does not use',
                why=f"the catalogue is {', '.join(names)}",
                fix=f"name {name} in policy.blueprints, or leave its options out",
            )


def build_sinks(config: RunConfig, registry: Registry) -> dict[str, Sink]:
    """Build the sinks that the configuration names, in order."""
    return build_components(registry.kind(SinkSpec.kind), config, registry)


def _judges_run(registry: Registry, evaluator: str) -> bool:
    return Capability.JUDGES_RUN in registry.get(EvaluatorSpec.kind, evaluator).spec.capabilities


def _build_host(factory: Callable[..., HostBuild], options: Any, shape: DataShape) -> HostBuild:
    return factory(options, shape)


def _term(config: RunConfig, registry: Registry, index: int) -> WeightedTerm:
    chosen = config.rewards.terms[index]
    registered = registry.get(RewardTermSpec.kind, chosen.name)
    spec = registered.spec
    assert isinstance(spec, RewardTermSpec)
    options = build_config(registered, chosen.options, path=f"rewards.terms[{index}]")
    return WeightedTerm(
        name=chosen.name, term=resolve(registered)(options), weight=chosen.weight, low=spec.low, high=spec.high
    )


def _check_device(device: str) -> None:
    """Before any data are loaded; what torch raises depends on how it was built and on what the machine has."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0]
        fix = "name one that this machine has, such as cpu: --device NAME, or --devices NAMES for several hosts"
        raise EsperError("E202", f'device "{device}" is not available', why=why, fix=fix) from error


def _on_device(splits: Splits, device: str) -> Splits:
    """Data stay where the hosts are, from the beginning."""
    return Splits(
        **{
            name: Split(inputs=_resident(split.inputs, device), targets=_resident(split.targets, device))
            for name, split in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
        }
    )


def _resident(tensor: Tensor, device: str) -> Tensor:
    """From pinned memory a copy to a GPU does not wait; whatever reads it is in the same stream, behind it."""
    if device.startswith("cuda") and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
