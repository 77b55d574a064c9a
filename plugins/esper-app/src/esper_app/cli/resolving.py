"""From the command line to the plugins and the configuration of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
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
from esper_app.configuration.policy_card import locate_policy, read_card
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_app.configuration.sections import read_plugins
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import TaskSpec
from esper_core.leyline.structure import NONE_WORDS
from esper_core.plugins.plugin_set import PluginSet
from esper_runs.run_directory import CONFIG, RunDirectory


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


def resolve_command(
    task: str | None, config: ConfigOptions, plugins: PluginOptions, defaults: Mapping[str, Any] | None = None
) -> Resolved:
    """Load the selected plugins and resolve the configuration.

    Args:
        task: the task, as given on the command line; None: the configuration names it.
        config: the configuration options.
        plugins: the plugin options.
        defaults: of the command, by dotted key; everything else goes before them.

    Raises:
        EsperError: E201 to E204, and what is wrong with the plugins.
    """
    return resolve_run_config(task, config, lambda table: load_selected(plugins, table), defaults=defaults)


def resolve_begun_run(directory: RunDirectory, plugins: PluginOptions) -> Resolved:
    """Resolve the configuration with which a run began, to go on with it.

    Args:
        directory: the run's.
        plugins: the plugin options.

    Raises:
        EsperError: E508 if the run's files are damaged, E511 if it began with another core, and as `resolve_command`.
    """
    from esper_app.execution.resuming import read_manifest, refuse_other_core

    refuse_other_core(read_manifest(directory))
    return resolve_command(None, ConfigOptions(file=directory.path / CONFIG, inside=directory.path), plugins)


def resolve_run_config(
    task: str | None,
    config: ConfigOptions,
    load: Callable[[PluginsConfig], PluginSet],
    *,
    data: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve the configuration with the plugins that `load` gives for its section ``plugins``.

    `data` is what the configuration file holds; by default the file is read. `defaults` are those of a command.

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
        spec,
        RegisteredOptions(loaded.registry),
        file=file,
        file_name=str(config.file),
        overrides=overrides,
        defaults=Layer(origin=Origin.DEFAULT, source="the command's defaults", data=nested(defaults or {})),
        # A run's own configuration says everything: the policy that it began with may be gone.
        policy=_saved_policy(said) if config.inside is None else None,
    )
    return Resolved(plugins=loaded, task=spec, configuration=resolved)


def _overrides(task: str | None, config: ConfigOptions) -> dict[str, Any]:
    settings = dict(config.settings) if task is None else {"task.name": task} | config.settings
    command_line = Layer(origin=Origin.CLI, source="the command line", data=nested(settings))
    sets = Layer(origin=Origin.CLI, source="--set", data=parse_overrides(config.sets))
    return dict(merge([command_line, sets]).tree)


def _saved_policy(said: Merged) -> Layer | None:
    """What the card of the policy says that the run begins with, if it begins with one."""
    section = said.tree.get("policy", {})
    path = section.get("saved") if isinstance(section, dict) else None
    if not isinstance(path, str) or path == NONE_WORDS[0]:
        return None
    card = locate_policy(Path(path))
    data = read_card(card).settings()
    if "blueprints" in section:  # options of others would be options of what the run does not have
        data.pop("blueprints", None)
        del data["policy"]["blueprints"]
    return Layer(origin=Origin.POLICY, source=str(card), data=data)


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
