"""How the hosts of a run are made, in the process of the run or in any other."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen

from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.resolve import resolve_config
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.progress import Progress
from esper_core.leyline.executors import Plan
from esper_core.leyline.protocols import Splits, Task
from esper_core.leyline.records import to_json, with_numbers
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Status
from esper_core.plugins.selection import NONE, Selection
from esper_core.tolaria.host import GrowingHost


@frozen
class RunHostBuilder:
    """Makes the hosts of a run (a `HostBuilder`).

    In another process it is the names of the run's plugins, and no more: they are loaded there, and the parts of the
    run are assembled from the plan's configuration. Plugins, parts and data are made once in each process.

    Attributes:
        selection: the run's plugins.
        assembly: the run's parts, where they are made already; they stay behind when the builder is pickled.
        progress: is told of every batch; it stays behind as well.
    """

    selection: Selection
    assembly: Assembly | None = field(default=None, eq=False, repr=False)
    progress: Progress | None = field(default=None, eq=False, repr=False)

    @classmethod
    def of(cls, plugins: PluginSet, assembly: Assembly, progress: Progress | None = None) -> "RunHostBuilder":
        """Return the builder of a run that is made of these plugins and parts."""
        active = [record.origin for record in plugins.records if record.status is Status.ACTIVE]
        names = tuple(f"{it.distribution}:{it.plugin}" for it in active if it.distribution)
        files = tuple(Path(it.file) for it in active if it.file and not it.distribution)
        return cls(Selection(wanted=names or (NONE,), paths=files), assembly, progress)

    def __call__(self, plan: Plan) -> GrowingHost:
        """Make the host of a plan.

        Raises:
            EsperError: what `load_plugins`, `resolve_config` and `assemble` raise, and E401, E402 if the network or one
                of its sites cannot be grown.
        """
        assembly = self.assembly
        if assembly is None or assembly.config.tree() != plan.config:
            assembly = _assembled(self.selection, to_json(plan.config))
        host = GrowingHost(assembly.host_plan(plan))
        if self.progress is not None:
            self.progress.watch(host)
        return host

    def __reduce__(self) -> tuple[Any, ...]:
        return RunHostBuilder, (self.selection,)


@cache
def _plugins(selection: Selection) -> PluginSet:
    return load_plugins(selection)


@cache
def _assembled(selection: Selection, config: str) -> Assembly:
    """Assemble a run in this process, which computes from now on with as many threads as the run says."""
    plugins, tree = _plugins(selection), with_numbers(json.loads(config))
    task = plugins.registry.get(TaskSpec.kind, tree["task"]["name"]).spec
    assert isinstance(task, TaskSpec)
    resolved = resolve_config(task, RegisteredOptions(plugins.registry), overrides=tree)
    torch.set_num_threads(resolved.config.threads)
    return assemble(resolved.config, plugins, _load)


#: The data of each task, by its identity: runs that differ in anything else share them.
_DATA: dict[str, Splits] = {}


def _load(task: Task) -> Splits:
    key = to_json(task.identity)
    if key not in _DATA:
        _DATA[key] = task.load()
    return _DATA[key]
