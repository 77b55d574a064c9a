"""The network: what a run has grown, with new weights, made plain."""

from pathlib import Path

from torch import nn

from esper_app.api import PluginOptions, load_run_plugins, open_run, rebuild_run
from esper_core.api import DataShape, EsperError, HostBuild, Stage
from esper_export import export_network
from esper_host_grown.config import GrownConfig, LiveSeeds

#: Stages in which a seed is a part of the network: what was kept, and whatever acts on its outputs.
_FOSSILS = frozenset({Stage.FOSSILIZED})
_SETTLED = _FOSSILS | {Stage.BLENDING, Stage.PROBATIONARY}


def build(config: GrownConfig, data: DataShape) -> HostBuild:
    """Return the network, drawn from torch's global generator: the run's host first, then its seeds in site order.

    Raises:
        EsperError: E402 if no run is named, its task has another shape, or a seed would be merged away; E505 and E508
            if the run is not there or damaged; E204 naming a plugin that is missing.
    """
    if config.run is None:
        raise EsperError("E402", "the host grown needs a run", where="host.run", fix="--set host.run=runs/last")
    directory = open_run(Path(config.run))
    plugins = load_run_plugins(directory, PluginOptions())
    settled = config.live is LiveSeeds.KEEP
    rebuilt = rebuild_run(directory, plugins, config.host, trained=False, settled=settled)
    if rebuilt.shape != data:
        why = f"{rebuilt.shape.kind} of shape {rebuilt.shape.input_shape} to {rebuilt.shape.outputs} outputs"
        what = f'run "{directory.name}" grew on data of another shape'
        raise EsperError("E402", what, where=f"host.run={config.run}", why=why, fix="name a run of the same task")
    network = export_network(rebuilt.network, live="remove")
    wanted = _SETTLED if settled else _FOSSILS
    grown = [row.slot for row in rebuilt.topology.slots if row.blueprint and row.stage in wanted]
    merged = [slot for slot in grown if not _added(rebuilt.network, network, slot)]
    if merged:
        raise EsperError(
            "E402",
            f"the seed in slot {merged[0]} would be merged into the host, and not be trained",
            where=f"host.run={config.run}",
            why="a linear update of a linear layer is a change of its weights",
            fix="name a run without such seeds",
        )
    return HostBuild(module=network.train(), sites=[], capabilities=set())


def _added(rebuilt: nn.Module, network: nn.Module, slot: str) -> bool:
    """Say whether a slot's seed is still there: in place of its site's submodule stands one with more parameters."""
    path = rebuilt.get_submodule(f"esper.{slot}").site.path
    before, after = (_parameters(model.get_submodule(path)) for model in (rebuilt, network))
    return after > before


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
