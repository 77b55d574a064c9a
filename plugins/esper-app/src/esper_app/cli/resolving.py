"""From the command line to the plugins and the configuration of a run."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_app.cli.config_options import ConfigOptions
from esper_app.cli.loading import load_selected
from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.config_file import read_config_file
from esper_app.configuration.layers import Layer, Merged, Origin, merge
from esper_app.configuration.modules import ModuleSource
from esper_app.configuration.overrides import nested, parse_overrides
from esper_app.configuration.plugin_selection import PluginOptions
from esper_app.configuration.plugins_section import PluginsConfig
from esper_app.configuration.policy_card import CHAMPION, champion_policy, locate_policy, read_card
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_app.configuration.sections import read_plugins
from esper_core.leyline.errors import EsperError
from esper_core.leyline.optional import optional_part
from esper_core.leyline.specs import TaskSpec
from esper_core.leyline.structure import NONE_WORDS
from esper_core.plugins.plugin_set import PluginSet
from esper_runs.run_directory import CONFIG, RunDirectory

#: The environment's word for the store that runs and the forge use.
_STORE_VARIABLE = "ESPER_STORE"


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
    if config.bus is not None:
        module, without = "esper_messaging.addresses", "run without --bus"
        part = optional_part(module, "a run cannot use a bus", where="--bus", otherwise=without)
        section = part.bus_section(config.bus, loaded.registry)
        overrides = _over(section, "--bus", overrides, loaded)
    if (named := _store(config, said)) is not None:
        address, where = named
        module, without = "esper_modules.addresses", "run without a store"
        part = optional_part(module, "a run cannot use a store", where=where, otherwise=without)
        section = part.store_section(address, loaded.registry)
        overrides = _over(section, where, overrides, loaded)
    saved, overrides = _with_champion(_saved(said), overrides)
    spec = _task(said, loaded)
    resolved = resolve_config(
        spec,
        RegisteredOptions(loaded.registry),
        file=file,
        file_name=str(config.file),
        overrides=overrides,
        defaults=Layer(origin=Origin.DEFAULT, source="the command's defaults", data=nested(defaults or {})),
        # A run's own configuration says everything: the policy that it began with may be gone.
        policy=_saved_policy(said, saved) if config.inside is None else None,
    )
    needed = any(resolved.config.section(it) is not None for it in ("bus", "store")) or _saved(said) == CHAMPION
    if config.state is not None and not needed:
        fix = "give one of them as well, such as --bus sqlite:, or leave --state out"
        what = "a state directory is named, and the run has no bus, store or champion to need it"
        raise EsperError("E202", what, where="--state", fix=fix)
    return Resolved(plugins=loaded, task=spec, configuration=resolved)


def _over(section: Mapping[str, Any], where: str, overrides: Mapping[str, Any], loaded: PluginSet) -> dict[str, Any]:
    """Return what the command line says, put over a section that one of its options stands for."""
    below = Layer(origin=Origin.CLI, source=where, data=section)
    above = Layer(origin=Origin.CLI, source="the command line", data=overrides)
    return dict(merge([below, above], loaded.registry.kinds).tree)


def _store(config: ConfigOptions, said: Merged) -> tuple[str, str] | None:
    """Return the address of the store that is named outside of a configuration, and where; None if none is."""
    if config.store is not None:
        return config.store, "--store"
    section = said.tree.get("modules", {})
    source = section.get("source") if isinstance(section, dict) else None
    # A run that has begun has its store in its configuration, or none.
    if config.inside is not None or "store" in said.tree or source == ModuleSource.LOCAL:
        return None
    if (address := os.environ.get(_STORE_VARIABLE)) is not None:
        return address, f"the environment's {_STORE_VARIABLE}"
    return ("local:", "modules.source") if source == ModuleSource.STORE else None


def _overrides(task: str | None, config: ConfigOptions) -> dict[str, Any]:
    settings = dict(config.settings) if task is None else {"task.name": task} | config.settings
    command_line = Layer(origin=Origin.CLI, source="the command line", data=nested(settings))
    sets = Layer(origin=Origin.CLI, source="--set", data=parse_overrides(config.sets))
    return dict(merge([command_line, sets]).tree)


def _saved(said: Merged) -> str | None:
    section = said.tree.get("policy", {})
    path = section.get("saved") if isinstance(section, dict) else None
    return path if isinstance(path, str) and path != NONE_WORDS[0] else None


def _with_champion(saved: str | None, overrides: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Put the champion's path and version in the place of the word for it."""
    if saved != CHAMPION:
        return saved, overrides
    path, version = champion_policy()
    named = Layer(origin=Origin.CLI, source="the champion", data={"policy": {"saved": str(path), "version": version}})
    rest = Layer(origin=Origin.CLI, source="the command line", data=overrides)
    return str(path), dict(merge([rest, named]).tree)


def _saved_policy(said: Merged, saved: str | None) -> Layer | None:
    """What the card of the policy says that the run begins with, if it begins with one."""
    if saved is None:
        return None
    path = locate_policy(Path(saved))
    card = read_card(path)
    data = card.settings()
    if "blueprints" in said.tree["policy"]:  # options of others would be options of what the run does not have
        data.pop("blueprints", None)
        del data["policy"]["blueprints"]
    if _saved(said) == CHAMPION:  # what comes of its decisions is learned from, by the rewards that it is judged by
        data |= nested(card.reward_settings())
    return Layer(origin=Origin.POLICY, source=str(path), data=data)


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
