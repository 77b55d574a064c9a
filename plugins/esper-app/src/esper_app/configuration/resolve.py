"""From layers to one checked run configuration, in which every value knows its origin."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from esper_app.configuration.config import RunConfig
from esper_app.configuration.executors import with_executor
from esper_app.configuration.layers import Layer, Merged, Origin, merge
from esper_app.configuration.module_source import refuse_idle_prefetch, with_modules
from esper_app.configuration.overrides import nested
from esper_app.configuration.places import CORE_SECTIONS
from esper_app.configuration.sections import OptionClasses, read_sections
from esper_app.configuration.telemetry_profiles import with_profile
from esper_core.leyline.records import plain
from esper_core.leyline.specs import TaskSpec


@frozen(kw_only=True)
class ResolvedConfig:
    """A run's configuration, and where each of its values comes from."""

    config: RunConfig
    merged: Merged

    def origin(self, path: str) -> Origin:
        """Return the origin of the value at a dotted path."""
        return self.merged.origin(path)

    def source(self, path: str) -> str | None:
        """Return in words where the value at a dotted path was written; None for a built-in default."""
        return None if self.origin(path) is Origin.DEFAULT else self.merged.source(path)


def resolve_config(
    task: TaskSpec,
    components: OptionClasses,
    *,
    file: Mapping[str, Any] | None = None,
    file_name: str = "the configuration file",
    overrides: Mapping[str, Any] | None = None,
    defaults: Layer | None = None,
    policy: Layer | None = None,
) -> ResolvedConfig:
    """Lay defaults < telemetry profile < task < saved policy < configuration file < command line, and check them.

    Args:
        task: the task that runs. If the file names another one, `overrides` must name this one.
        components: knows the options of hosts, policies, gates, reward terms, sinks and blueprints.
        file: content of the configuration file.
        file_name: its name, for messages.
        overrides: what the command line says, nested like a file.
        defaults: of the command, which go before the built-in ones.
        policy: what the card of a saved policy says.

    Raises:
        EsperError: E201 (unknown key), E202 (bad value), E204 (unknown component), each with path and place.
    """
    layers = [_defaults(), *([defaults] if defaults else []), *_task_layers(task), *([policy] if policy else [])]
    if file is not None:
        layers.append(Layer(origin=Origin.FILE, source=file_name, data=file))
    layers.append(Layer(origin=Origin.CLI, source="the command line", data=overrides or {}))
    merged = with_executor(merge(with_profile(layers, components.kinds), components.kinds), components)
    merged = with_modules(merged)
    config = read_sections(merged, components)
    refuse_idle_prefetch(config.modules.source, config.prefetch)
    return ResolvedConfig(config=config, merged=merged)


def _defaults() -> Layer:
    """The names that hold before anybody speaks: a layer that names others discards what was said about these."""
    data = {}
    for section, cls in CORE_SECTIONS.items():
        default = plain(cls())
        if names := {key: default[key] for key in ("name", "names", "evaluators") if key in default}:
            data[section] = names
    return Layer(origin=Origin.DEFAULT, source="the built-in defaults", data=data)


def _task_layers(task: TaskSpec) -> list[Layer]:
    """What the task is, then what it suggests."""
    own = {"task": {"name": task.name}, "host": {"name": task.host, **task.host_options}}
    source = f'the settings of task "{task.name}"'
    return [Layer(origin=Origin.TASK, source=source, data=data) for data in (own, nested(task.defaults))]
