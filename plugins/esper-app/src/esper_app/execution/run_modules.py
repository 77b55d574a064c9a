"""The seam between a run and the store that its seeds' modules come from."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from esper_app.configuration.components import build_components
from esper_app.configuration.config import RunConfig
from esper_app.configuration.modules import COMPILER, STORE, Fallback, ModuleSource
from esper_app.configuration.training import Compiled, MemoryFormat, Precision
from esper_app.execution.run_bus import BUS
from esper_core.kasmina.seed_factory import Modules
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.optional import optional_part
from esper_core.leyline.records import plain
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Status
from esper_core.plugins.resolve import build_config
from esper_core.plugins.selection import NONE, Selection
from esper_runs.event_log import read_event_log
from esper_runs.run_directory import EVENTS, RunDirectory


class RunModules(Protocol):
    """Makes what the modules of each host's seeds come from, in one process. Store and bus are opened when needed."""

    def check(self) -> None:
        """Check that store and compiler can be used. Raises EsperError if not; nothing has been trained then."""
        ...

    def repeat(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Let modules arrive in the epochs in which a run's log says that they did."""
        ...

    def host(self, inputs: Tensor, slot_set: SlotSet, name: str) -> Modules:
        """Return what the modules of one host come from; `inputs` are a few inputs, where the host is."""
        ...


def selection_of(plugins: PluginSet) -> Selection:
    """Return what selects these plugins, by name and file, in any process."""
    active = [record.origin for record in plugins.records if record.status is Status.ACTIVE]
    names = tuple(f"{it.distribution}:{it.plugin}" for it in active if it.distribution)
    files = tuple(Path(it.file) for it in active if it.file and not it.distribution)
    return Selection(wanted=names or (NONE,), paths=files)


def run_modules(config: RunConfig, plugins: PluginSet, blueprints: Iterable[str]) -> RunModules | None:
    """Return what a run's modules come from; None where their blueprints build them.

    Raises:
        EsperError: E190 if what that needs is not installed, E202 if artifacts are not for what the run computes.
    """
    if config.modules.source is ModuleSource.LOCAL:
        return None
    _refuse_other_numerics(config)
    if not config.prefetch.wait and config.section(BUS) is None:
        why = "without a bus a run waits while its own children compile"
        fix = "name one: --bus sqlite:; or leave prefetch.wait out"
        raise EsperError("E202", '"prefetch.wait" is of no use', where="prefetch.wait", why=why, fix=fix)
    registry = plugins.registry

    def opened(section: str) -> Any:
        return build_components(registry.kind(section), config, registry)[config.section(section).name]

    compiler = config.section(COMPILER)
    registered = registry.get(COMPILER, compiler.name, where="compiler.name")
    usual = build_config(registered, {})
    if dict(compiler.options) != ({} if usual is None else plain(usual)):
        why = "the forge makes artifacts with a compiler's usual options"
        raise EsperError("E202", '"compiler" has other options', why=why, fix="leave its options out")
    made: RunModules = _part("run_modules").RunModules(
        registry,
        selection_of(plugins),
        blueprints,
        open_store=lambda: opened(STORE),
        compiler=compiler.name,
        open_bus=None if config.section(BUS) is None else lambda: opened(BUS),
        name=config.name or config.task.name,
        timeout=config.prefetch.timeout_seconds,
        wait=config.prefetch.wait,
        cull=config.prefetch.fallback is Fallback.CULL,
    )
    return made


def repeat_arrivals(config: RunConfig, modules: RunModules | None, directory: RunDirectory) -> None:
    """Let the modules of a run that goes on arrive when its log says that they did, if it does not wait for them."""
    if modules is not None and not config.prefetch.wait:
        log = read_event_log(directory.path / EVENTS, inside=directory.path)
        modules.repeat(() if log is None else log.events)


def replayed_modules(config: RunConfig, directory: RunDirectory) -> RunModules | None:
    """Return modules that their blueprints build, when a run's log says that they arrived; None: at once."""
    if config.modules.source is ModuleSource.LOCAL or config.prefetch.wait:
        return None
    replayed: RunModules = _part("arrivals").ReplayedModules()
    repeat_arrivals(config, replayed, directory)
    return replayed


def refuse_not_waiting(config: RunConfig, where: str) -> None:
    """Check that modules are waited for where epochs are repeated without a log. Raises EsperError E202."""
    if not config.prefetch.wait:
        what = f'"prefetch.wait" is not possible where {where}'
        raise EsperError("E202", what, where="prefetch.wait", fix="leave it out: its epochs wait for their modules")


def _part(module: str) -> Any:
    what = "a run cannot use a store"
    return optional_part(f"esper_modules.{module}", what, where="store.name", otherwise="run without --store")


def _refuse_other_numerics(config: RunConfig) -> None:
    """Artifacts are compiled and compared for contiguous numbers of single precision on the CPU."""
    training = config.training
    for key, found, wanted in (
        ("device", config.device, "cpu"),
        *(("devices", device, "cpu") for device in config.devices),
        ("training.precision", training.precision, Precision.FP32),
        ("training.compile", training.compile, Compiled.OFF),
    ):
        if found != wanted:
            raise _refused(key, str(found), str(wanted))
    if training.memory_format is MemoryFormat.CHANNELS_LAST:
        raise _refused("training.memory_format", str(training.memory_format), str(MemoryFormat.HOST))


def _refused(key: str, found: str, wanted: str) -> EsperError:
    why = f'artifacts are not made for "{found}"'
    what = f'"{key}" is not possible with modules from a store'
    return EsperError("E202", what, why=why, fix=f"--set {key}={wanted}, or --set modules.source=local")
