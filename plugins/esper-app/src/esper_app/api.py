"""What programs and further commands build on: load plugins, resolve a configuration, run it, resume, open a run.

Nothing here needs a command line; `plugin_options` and `config_options` add the options that all of Esper's commands
share to a click command, and `resolve_command` takes what they give. Torch is imported when something runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esper_app.cli.bus_options import bus_options
from esper_app.cli.config_options import ConfigOptions, config_options
from esper_app.cli.loading import load_selected
from esper_app.cli.option_values import option_values
from esper_app.cli.options import locked_option, plugin_options
from esper_app.cli.resolving import Resolved, resolve_begun_run, resolve_command, resolve_run_config
from esper_app.cli.root import is_tracing
from esper_app.cli.store_options import store_options
from esper_app.configuration.components import build_components
from esper_app.configuration.config import RunConfig
from esper_app.configuration.plugin_selection import PluginOptions
from esper_app.configuration.policy_card import PolicyCard, is_saved_policy, read_policy_card, saved_policy_path
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.listing import event_payloads, list_plugins
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.known import install_line_for_plugin
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_core.plugins.selection import Selection
from esper_runs.run_directory import CONFIG, RunDirectory, find_run

if TYPE_CHECKING:
    from torch import nn

    from esper_app.execution.listening import Asked
    from esper_app.execution.own_loop import OwnLoop, own_loop, scores
    from esper_app.execution.part_of_data import TrainedPart, train_on
    from esper_app.execution.policy_files import SavedPolicy, load_policy, new_policy, rebuild_policy, save_policy
    from esper_app.execution.prospects import Prospect, prospects
    from esper_app.execution.rebuild import RebuiltRun
    from esper_app.execution.replay import Replay, begin_replay, nearest_checkpoint, replay_run
    from esper_app.execution.run import FinishedRun
    from esper_app.execution.training import resume_training, train
    from esper_app.execution.training_files import TrainingFiles
    from esper_app.execution.watch import Watch

__all__ = [
    "KINDS",
    "Asked",
    "ConfigOptions",
    "OwnLoop",
    "PluginOptions",
    "PluginSet",
    "PolicyCard",
    "Prospect",
    "RebuiltRun",
    "Registered",
    "Replay",
    "Resolved",
    "ResolvedConfig",
    "RunConfig",
    "RunDirectory",
    "SavedPolicy",
    "Selection",
    "TrainedPart",
    "begin_replay",
    "build_component",
    "build_components",
    "build_config",
    "bus_options",
    "config_options",
    "event_payloads",
    "execute",
    "install_line_for_plugin",
    "is_saved_policy",
    "is_tracing",
    "list_plugins",
    "load_plugins",
    "load_policy",
    "load_run_plugins",
    "load_selected",
    "locked_option",
    "nearest_checkpoint",
    "network_folder",
    "new_policy",
    "open_run",
    "option_values",
    "own_loop",
    "plugin_options",
    "prospects",
    "read_policy_card",
    "rebuild_network",
    "rebuild_policy",
    "rebuild_run",
    "replay_run",
    "resolve_begun_run",
    "resolve_command",
    "resolve_run",
    "resume",
    "resume_training",
    "save_policy",
    "saved_policy_path",
    "scores",
    "store_options",
    "train",
    "train_on",
    "training_files",
]


def resolve_run(
    task: str | None,
    plugins: PluginSet,
    *,
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
) -> ResolvedConfig:
    """Return the checked configuration of a run.

    Args:
        task: the task's name; None: the file or the settings name it.
        plugins: the loaded plugins.
        file: a configuration file.
        settings: values by dotted key, such as ``{"optimizer.lr": 0.05}``; they go before the file's.
        sets: texts as for ``--set``, such as ``optimizer.lr=0.05``; they go before `settings`.

    Raises:
        EsperError: E201 to E204 for what is wrong in the configuration, with its path and place.
    """
    given = ConfigOptions(file=file, settings=dict(settings or {}), sets=tuple(sets))
    return resolve_run_config(task, given, lambda _: plugins).configuration


def execute(
    configuration: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    watch: "Watch | None" = None,
) -> "FinishedRun":
    """Run a configuration once and write everything to a run directory of its own.

    Args:
        configuration: the configuration.
        plugins: the loaded plugins.
        command: the command line, for the manifest.
        strict: a failing sink ends the run.
        watch: looks at what plugins do, all the time.

    Raises:
        EsperError: whatever keeps the run from beginning; nothing has been trained then.
    """
    from esper_app.execution.run import execute

    return execute(configuration, plugins, command=command, strict=strict, watch=watch)


def resume(
    directory: RunDirectory,
    configuration: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    watch: "Watch | None" = None,
) -> "FinishedRun":
    """Go on with a run from its newest checkpoint; see `execute` for the arguments.

    Raises:
        EsperError: E506 if there is nothing to go on from, E509, E510 for a checkpoint that cannot be read, E511 if a
            plugin that the run uses has changed.
    """
    from esper_app.execution.run import resume

    return resume(directory, configuration, plugins, command=command, strict=strict, watch=watch)


def open_run(path: Path) -> RunDirectory:
    """Return an existing run's directory; `esper_runs` reads what is in it.

    Raises:
        EsperError: E505 if there is no run.
    """
    return find_run(path)


def build_component(registry: Registry, kind: str, name: str, options: Mapping[str, Any], *, where: str) -> Any:
    """Build one component whose factory is called with its options alone, such as a sink.

    Args:
        registry: the loaded plugins.
        kind: its kind.
        name: its name.
        options: what the user set, as TOML gives it.
        where: where it was written, for messages.

    Raises:
        EsperError: E204 for an unknown name, E201 and E202 for options that do not fit, E160 and E161 if it cannot be
            built here.
    """
    found = registry.get(kind, name, where=where)
    return resolve(found)(build_config(found, options, path=name, source=where))


def training_files(path: Path, plugins: PluginSet, used: Sequence[Registered]) -> "TrainingFiles":
    """Return what writes the run directory of a training in a user's own loop.

    Args:
        path: the directory.
        plugins: the loaded plugins.
        used: the components that the training uses.
    """
    from esper_app.execution.training_files import TrainingFiles

    return TrainingFiles(path.absolute(), plugins, used)


def load_run_plugins(directory: RunDirectory, options: PluginOptions) -> PluginSet:
    """Return the plugins for a run that is there: those that its configuration selects, changed by the options.

    Args:
        directory: the run's.
        options: what `plugin_options` gives to a command.

    Raises:
        EsperError: E508 if the run's configuration is missing or damaged, and what `load_plugins` raises.
    """
    from esper_app.cli.loading import load_selected
    from esper_app.configuration.config_file import read_run_config_file
    from esper_app.configuration.sections import read_plugins

    return load_selected(options, read_plugins(read_run_config_file(directory), str(directory.path / CONFIG)))


def network_folder(directory: RunDirectory, host: str | None = None) -> str:
    """Return the folder of a host's network in a run's directory, with a slash; "" where a single host grew.

    Raises:
        EsperError: E505 if no such host grew, or several did and none is named.
    """
    from esper_app.execution.network_files import network_folder

    return network_folder(directory, host)


def rebuild_network(directory: RunDirectory, plugins: PluginSet, host: str | None = None) -> "nn.Module":
    """Return the network that a run has grown, with its seeds; it computes what it computed. Imports torch.

    It is in evaluation mode and on the CPU. The plugins of the task, the host and the blueprints that have grown are
    needed; the task's data are not.

    Args:
        directory: the run's.
        plugins: the loaded plugins; see `load_run_plugins`.
        host: the name of the host, which must be given where several grew.

    Raises:
        EsperError: E505 if no host has that name; E508 if a file of the run is missing, damaged, or does not fit the
            components that are installed; E204 naming the plugin that is missing, with the line that installs it.
    """
    return rebuild_run(directory, plugins, host).network


def rebuild_run(
    directory: RunDirectory, plugins: PluginSet, host: str | None = None, *, trained: bool = True, settled: bool = False
) -> "RebuiltRun":
    """Return the network as `rebuild_network` does, with what it was made from. Raises the same errors.

    With `trained` False its weights are as drawn, from torch's global generator. With `settled`, which needs that,
    seeds that act on the outputs are fossils in it, though their fate was open.
    """
    from esper_app.execution.rebuild import rebuild_run

    return rebuild_run(directory, plugins, host, trained=trained, settled=settled)


#: What needs torch is imported when somebody names it.
_LAZY = {
    "policy_files": ("SavedPolicy", "load_policy", "new_policy", "rebuild_policy", "save_policy"),
    "prospects": ("Prospect", "prospects"),
    "rebuild": ("RebuiltRun",),
    "listening": ("Asked",),
    "own_loop": ("OwnLoop", "own_loop", "scores"),
    "part_of_data": ("TrainedPart", "train_on"),
    "replay": ("Replay", "begin_replay", "nearest_checkpoint", "replay_run"),
    "training": ("resume_training", "train"),
}


def __getattr__(name: str) -> Any:
    for module, names in _LAZY.items():
        if name in names:
            return getattr(import_module(f"esper_app.execution.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
