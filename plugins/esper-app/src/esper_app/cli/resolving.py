"""From the command line to the plugins and the configuration of a run."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from esper_app.cli.config_options import ConfigOptions
from esper_app.cli.loading import load_selected
from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.config import PluginsConfig
from esper_app.configuration.config_file import read_config_file
from esper_app.configuration.layers import Layer, Merged, Origin, merge
from esper_app.configuration.overrides import nested, parse_overrides
from esper_app.configuration.plugin_selection import PluginOptions
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_app.configuration.sections import read_plugins
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.plugin_set import PluginSet


@frozen(kw_only=True)
class Resolved:
    """What a command works with.

    Attributes:
        plugins: the selected plugins, loaded.
        task: the task's descriptor.
        configuration: the run's configuration.
    """

    plugins: PluginSet
    task: TaskSpec
    configuration: ResolvedConfig

    @property
    def components(self) -> RegisteredOptions:
        """The options of all components."""
        return RegisteredOptions(self.plugins.registry)


def resolve_command(task: str | None, config: ConfigOptions, plugins: PluginOptions) -> Resolved:
    """Load the selected plugins and resolve the configuration.

    Args:
        task: the task, as given on the command line; None: the configuration names it.
        config: the configuration options.
        plugins: the plugin options.

    Raises:
        EsperError: E201 to E204, and what is wrong with the plugins.
    """
    return resolve_run_config(task, config, lambda table: load_selected(plugins, table))


def resolve_run_config(
    task: str | None,
    config: ConfigOptions,
    load: Callable[[PluginsConfig], PluginSet],
    *,
    data: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve the configuration with the plugins that `load` gives for its section ``plugins``.

    `data` is what the configuration file holds; by default the file is read.

    Raises:
        EsperError: E201 to E204, and what `load` raises.
    """
    if data is None:
        data = read_config_file(config.file, inside=config.inside) if config.file else {}
    file = data
    overrides = _overrides(task, config)
    said = merge(
        [
            Layer(origin=Origin.FILE, source=str(config.file), data=file),
            Layer(origin=Origin.CLI, source="the command line", data=overrides),
        ]
    )
    loaded = load(read_plugins(said.tree, said.source))
    spec = _task(said, loaded)
    resolved = resolve_config(
        spec, RegisteredOptions(loaded.registry), file=file, file_name=str(config.file), overrides=overrides
    )
    return Resolved(plugins=loaded, task=spec, configuration=resolved)


def _overrides(task: str | None, config: ConfigOptions) -> dict[str, Any]:
    settings = dict(config.settings) if task is None else {"task.name": task} | config.settings
    command_line = Layer(origin=Origin.CLI, source="the command line", data=nested(settings))
    sets = Layer(origin=Origin.CLI, source="--set", data=parse_overrides(config.sets))
    return dict(merge([command_line, sets]).tree)


def _task(said: Merged, plugins: PluginSet) -> TaskSpec:
    section = said.tree.get("task", {})
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str):
        known = ", ".join(plugins.registry.names(TaskSpec.kind)) or "none is installed"
        why = "neither the command line nor the configuration file does"
        raise EsperError("E202", "no task is named", why=why, fix=f"name one of: {known}")
    spec = plugins.registry.get(TaskSpec.kind, name, where=said.source("task.name")).spec
    assert isinstance(spec, TaskSpec)
    return spec
