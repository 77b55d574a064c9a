"""How the hosts of a run are made, in the process of the run or in any other."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from attrs import evolve, field, frozen

from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.resolve import resolve_config
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.progress import Progress
from esper_app.execution.run_modules import selection_of
from esper_app.execution.shared_data import DataPlaces, SharedData
from esper_core.leyline.executors import Plan
from esper_core.leyline.protocols import Splits, Task
from esper_core.leyline.records import to_json, with_numbers
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.selection import Selection
from esper_core.tolaria.host import GrowingHost, HostPlan


@frozen
class RunHostBuilder:
    """Makes the hosts of a run (a `HostBuilder`).

    In another process it is the names of the run's plugins and the place of its data, and no more: plugins are loaded
    there, and the parts of the run are assembled from the plan's configuration, once in each process.

    Attributes:
        selection: the run's plugins.
        places: where the run's data are, in another process than that of the run.
        assembly: the run's parts, where they are made already; they stay behind when the builder is pickled.
        progress: is told of every batch; it stays behind as well.
        data: the run's data; they stay behind, their place does not.
        make: makes the hosts of their parts; what can be pickled, for other processes.
    """

    selection: Selection
    places: DataPlaces | None = None
    assembly: Assembly | None = field(default=None, eq=False, repr=False)
    progress: Progress | None = field(default=None, eq=False, repr=False)
    data: SharedData | None = field(default=None, eq=False, repr=False)
    make: Callable[[HostPlan], GrowingHost] = GrowingHost

    @classmethod
    def of(cls, plugins: PluginSet, assembly: Assembly, progress: Progress | None = None) -> "RunHostBuilder":
        """Return the builder of a run that is made of these plugins and parts."""
        # Data that are on another device by now are not for other processes.
        on_cpu = assembly.splits.train.targets.device.type == "cpu"
        data = SharedData(_task_of(assembly.config.tree()), assembly.splits) if on_cpu else None
        return cls(selection_of(plugins), assembly=assembly, progress=progress, data=data)

    def __call__(self, plan: Plan) -> GrowingHost:
        """Make the host of a plan.

        Raises:
            EsperError: what `load_plugins`, `resolve_config` and `assemble` raise, and E401, E402 if the network or one
                of its sites cannot be grown.
        """
        assembly = _as_long(self.assembly, plan.config)
        if assembly is None or assembly.config.tree() != plan.config:
            assembly = _assembled(self.selection, to_json(plan.config), self.places)
        host = self.make(assembly.host_plan(plan))
        if self.progress is not None:
            self.progress.watch(host)
        return host

    def made_by(self, make: Callable[[HostPlan], GrowingHost]) -> "RunHostBuilder":
        """Return the builder of the same hosts, which something else makes of their parts."""
        return evolve(self, make=make)

    def preload(self, plan: Plan) -> None:
        """Load what all hosts need, in a process that others are forked from. Raises as a call does.

        What is on another device than the CPU has to wait: a forked process cannot use it.
        """
        if plan.config["device"] == "cpu":
            _assembled(self.selection, to_json(plan.config), self.places)
        else:
            _plugins(self.selection)

    def __reduce__(self) -> tuple[Any, ...]:
        places = self.places if self.data is None else self.data.places()
        return RunHostBuilder, (self.selection, places, None, None, None, self.make)


def _as_long(assembly: Assembly | None, config: Mapping[str, Any]) -> Assembly | None:
    """The same parts for another length: twins and controls have no budget, and controls epochs of their own."""
    length = {key: config[key] for key in ("epochs", "flops")}
    if assembly is None or all(getattr(assembly.config, key) == value for key, value in length.items()):
        return assembly
    return evolve(assembly, config=evolve(assembly.config, **length))


@cache
def _plugins(selection: Selection) -> PluginSet:
    return load_plugins(selection)


@cache
def _assembled(selection: Selection, config: str, places: DataPlaces | None) -> Assembly:
    """Assemble a run in this process, which computes from now on with as many threads as the run says."""
    plugins, tree = _plugins(selection), with_numbers(json.loads(config))
    task = plugins.registry.get(TaskSpec.kind, tree["task"]["name"]).spec
    assert isinstance(task, TaskSpec)
    resolved = resolve_config(task, RegisteredOptions(plugins.registry), overrides=tree)
    torch.set_num_threads(resolved.config.threads)
    mapped = _mapped(places) if places is not None and places.task == _task_of(tree) else None
    return assemble(resolved.config, plugins, _load if mapped is None else lambda task: mapped)


@cache
def _mapped(places: DataPlaces) -> Splits | None:
    """Map the data once; None if their file has gone, with the process that made it."""
    return places.splits() if places.there else None


def _task_of(config: Mapping[str, Any]) -> str:
    return to_json(config["task"])


#: The data of each task, by its identity: runs that differ in anything else share them.
_DATA: dict[str, Splits] = {}


def _load(task: Task) -> Splits:
    key = to_json(task.identity)
    if key not in _DATA:
        _DATA[key] = task.load()
    return _DATA[key]
