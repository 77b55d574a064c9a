"""The network that a run has grown, rebuilt from the run's files."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

import esper_core
from esper_app.configuration.config_file import read_run_config_file
from esper_app.execution.network_files import (
    TOPOLOGY,
    WEIGHTS,
    GrownSlot,
    Topology,
    network_folder,
    read_topology,
    read_weights,
)
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.gated import blended
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot import bare_copy
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import DataShape, HostBuild, Task, TaskKind
from esper_core.leyline.specs import BlueprintSpec, Capability, HostSpec, TaskSpec
from esper_core.leyline.stages import Blend, Stage
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import build_config, resolve
from esper_runs.reading import reading
from esper_runs.run_directory import CONFIG, MANIFEST, RunDirectory


@frozen(kw_only=True)
class RebuiltRun:
    """A run's network with its seeds, and what it was made from.

    Attributes:
        network: in evaluation mode, on the CPU.
        shape: what it takes and gives.
        topology: what has grown where.
        no_export: titles of the components that cannot be exported, by the slot of the seed or "host".
        changed: the distributions that have another version than when the run began, each as a phrase.
    """

    network: nn.Module
    shape: DataShape
    topology: Topology
    no_export: Mapping[str, str]
    changed: tuple[str, ...]

    def sample_inputs(self, samples: int) -> Tensor:
        """Return random inputs for the network, (samples, *input_shape); the same ones each time."""
        return _sample_inputs(self.shape, samples)


def rebuild_run(
    directory: RunDirectory, plugins: PluginSet, host: str | None = None, *, trained: bool = True, settled: bool = False
) -> RebuiltRun:
    """Return the network that a run has grown, with its seeds as they were; see `esper_app.api.rebuild_network`.

    Args:
        directory: the run's.
        plugins: the loaded plugins.
        host: the name of the host; None: the only one.
        trained: with the run's weights; otherwise host and seeds are drawn from torch's global generator.
        settled: seeds that act on the network's outputs are fossils in it, though their fate was open; not with the
            run's weights, whose outputs that would change.

    Raises:
        ValueError: with `settled` and the run's weights.
        EsperError: E505 if no host has that name, or none is named where several grew; E508 if the run's files are
            damaged or do not fit each other, or the host or a blueprint is not what it was; E204 naming the plugin that
            is missing, with the line that installs it; what `resolve` raises.
    """
    if settled and trained:
        raise ValueError("settled=True is for a network without the run's weights: trained=False")
    with reading(f'run "{directory.name}"', directory.path):
        return _rebuilt(directory, plugins, network_folder(directory, host), trained, settled)


def _rebuilt(directory: RunDirectory, plugins: PluginSet, folder: str, trained: bool, settled: bool) -> RebuiltRun:
    topology = read_topology(directory, folder)
    weights = read_weights(directory, folder) if trained else None
    parts = _Parts(directory, plugins, read_run_config_file(directory), directory.read_json(MANIFEST))
    task, host = parts.section(TaskSpec.kind), parts.section(HostSpec.kind)
    grown = {row.slot: parts.blueprint(row, topology) for row in topology.slots if row.blueprint and row.regime}
    # What is drawn here and overwritten by the weights changes nobody else's random numbers.
    with torch.random.fork_rng(devices=[], enabled=trained):
        shape = parts.task(task).shape
        build = parts.host(host, shape)
        slot_set = _slot_set(build, shape)
        for row in topology.slots:
            _refuse_another_site(directory, row, slot_set)
            if row.slot in grown:
                _plant(parts, slot_set, row, grown[row.slot])
    if weights is not None:
        _load(directory, slot_set.model, weights)
    for slot in slot_set.slots.values() if settled else ():
        if slot.acts_in_evaluation:
            slot.enter(ForwardMode.FOSSIL)
            slot.set_alpha(1.0)
    return RebuiltRun(
        network=slot_set.model.eval(),
        shape=shape,
        topology=topology,
        no_export=_no_export(host, build, grown),
        changed=tuple(parts.changes([task, host, *grown.values()])),
    )


def _sample_inputs(shape: DataShape, samples: int) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    if shape.kind is TaskKind.TOKENS:
        return torch.randint(0, shape.outputs, (samples, *shape.input_shape), generator=stream)
    return torch.randn(samples, *shape.input_shape, generator=stream)


@frozen
class _Parts:
    """The components of a run: found as the run's files name them, built with the run's options."""

    directory: RunDirectory
    plugins: PluginSet
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]

    def section(self, kind: str) -> Registered:
        """Find the component that a section of the configuration names."""
        section = self.config.get(kind, {})
        name = section.get("name") if isinstance(section, dict) else None
        if not isinstance(name, str):
            raise self.directory.damaged(CONFIG, f"it names no {kind}")
        return self.find(kind, name)

    def blueprint(self, row: GrownSlot, topology: Topology) -> Registered:
        """Find the blueprint of a seed, of the distribution that it came from."""
        entry = next((entry for entry in topology.catalogue if entry.name == row.blueprint), None)
        if entry is None:
            raise self.directory.damaged(TOPOLOGY, f'"{row.blueprint}" in slot "{row.slot}" is not in the catalogue')
        from_where = f"{entry.distribution}/" if entry.distribution and "/" not in entry.name else ""
        found = self.find(BlueprintSpec.kind, from_where + entry.name)
        source = str(self.directory.path / CONFIG)
        configured = self.config.get("blueprints", {}).get(entry.name, {})
        if build_config(found, configured, source=source) != self.options(found, row):
            raise self.directory.damaged(CONFIG, f'the options of "{entry.name}" are not those of {TOPOLOGY}')
        return found

    def options(self, blueprint: Registered, row: GrownSlot) -> Any:
        return build_config(blueprint, row.options, source=str(self.directory.path / TOPOLOGY))

    def task(self, registered: Registered) -> Task:
        task: Task = resolve(registered)(self._section_options(registered))
        return task

    def host(self, registered: Registered, shape: DataShape) -> HostBuild:
        build: HostBuild = resolve(registered)(self._section_options(registered), shape)
        return build

    def find(self, kind: str, name: str) -> Registered:
        """Look a component up; if its plugin is not here, say which one it was."""
        try:
            return self.plugins.registry.get(kind, name, where=str(self.directory.path / CONFIG))
        except EsperError as error:
            entry = self._recorded(kind, name.rpartition("/")[2])
            if error.code == "E204" and entry and not self.plugins.find(entry["plugin"]):
                shipped = f"{entry['distribution']}=={entry['version']}"
                error.why = f"the run used it from {shipped if entry['distribution'] else entry['file']}"
                error.fix = f"pip install {shipped}" if entry["distribution"] else f"--plugin-path {entry['file']}"
            raise

    def changes(self, used: list[Registered]) -> Iterator[str]:
        """Say what comes in another version than when the run began."""
        before = {entry["distribution"]: entry["version"] for entry in [self.manifest["core"], *self._plugins]}
        now = {"esper-core": esper_core.__version__} | {r.origin.distribution: r.origin.version for r in used}
        for name, version in now.items():
            if name and before.get(name) != version:
                yield f"{name} is {version}, the run began with {before.get(name)}"

    def _section_options(self, registered: Registered) -> Any:
        kind = registered.spec.kind
        options = {key: value for key, value in self.config[kind].items() if key != "name"}
        return build_config(registered, options, path=kind, source=str(self.directory.path / CONFIG))

    def _recorded(self, kind: str, name: str) -> Mapping[str, Any] | None:
        return next((entry for entry in self._plugins if {"kind": kind, "name": name} in entry["used"]), None)

    @property
    def _plugins(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self.manifest["plugins"]
        return found


def _slot_set(build: HostBuild, shape: DataShape) -> SlotSet:
    root = prepare_root(build.module)
    sample = _sample_inputs(shape, 2)
    sites = confirm_sites(root, build.sites, lambda model: model(sample))
    # Planting needs an optimizer to bring a seed's group to; this one is never asked for a step.
    return SlotSet(root, sites, torch.optim.SGD(root.parameters(), lr=0.0))


def _refuse_another_site(directory: RunDirectory, row: GrownSlot, slot_set: SlotSet) -> None:
    site = slot_set.sites.get(row.slot)
    here = None if site is None else (site.path, site.layout, site.width)
    if here != (row.path, row.layout, row.width):
        has = "no such site" if here is None else f"{here[0]} ({here[1]}, width {here[2]}) there"
        why = f'slot "{row.slot}" was at {row.path} ({row.layout}, width {row.width}); the host has {has}'
        raise directory.damaged(TOPOLOGY, why)


def _plant(parts: _Parts, slot_set: SlotSet, row: GrownSlot, blueprint: Registered) -> None:
    site = slot_set.sites[row.slot]
    options = parts.options(blueprint, row)
    shown = [bare_copy(slot_set.model.get_submodule(site.path))] * (
        Capability.SITE_MODULE in blueprint.spec.capabilities
    )
    seed = blended(lambda at: resolve(blueprint)(at, options, *shown), site, row.blend or Blend.LINEAR)
    has = {one: one in blueprint.spec.capabilities for one in Capability}
    if problem := slot_set.plant(
        site,
        row.slot,
        seed,
        stream=0,
        random=has[Capability.RANDOM],
        learning_rate=0.0,
        masked=has[Capability.PADDING_MASK],
        fed=has[Capability.SITE_INPUT],
    ):
        raise parts.directory.damaged(TOPOLOGY, f'"{row.blueprint}" in slot "{row.slot}" is not what it was: {problem}')
    slot = slot_set.slots[row.slot] if row.stage is Stage.GERMINATED else slot_set.attach(site)
    if row.regime is not None and row.alpha is not None:
        slot.enter(row.regime)
        slot.set_alpha(row.alpha)


def _load(directory: RunDirectory, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise directory.damaged(WEIGHTS, str(error).splitlines()[-1].strip()) from error


def _no_export(host: Registered, build: HostBuild, grown: Mapping[str, Registered]) -> dict[str, str]:
    silent = {slot: r.title for slot, r in grown.items() if Capability.NO_EXPORT in r.spec.capabilities}
    if Capability.NO_EXPORT in host.spec.capabilities | build.capabilities:
        silent["host"] = host.title
    return silent
