"""A configuration as text: as it holds, with the origin of each value, or as a file to begin with."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from esper_app.configuration.config import (
    CheckpointsConfig,
    GatesConfig,
    PluginsConfig,
    PolicyConfig,
    RewardsConfig,
    RunConfig,
    RunSettings,
    SinksConfig,
)
from esper_app.configuration.layers import Origin
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.configuration.sections import OptionClasses
from esper_app.configuration.toml import dotted, to_toml, toml_key, toml_value
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.records import plain
from esper_core.leyline.specs import Kind
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig

#: Where None means "choose what suits", not "nothing".
_AUTO = (("policy", "blueprints"), ("lifecycle", "isolate"), ("checkpoints", "every"))


def config_toml(resolved: ResolvedConfig) -> str:
    """Return the complete configuration as TOML; a comment behind each value tells its origin.

    Read back as a configuration file it gives the same run.
    """
    return to_toml(_with_words(resolved.config.tree()), lambda path: resolved.origin(path).value)


def template_toml(resolved: ResolvedConfig | None = None, components: OptionClasses | None = None) -> str:
    """Return a configuration file to begin with: every key described, and commented out with the value that holds.

    What a file or the command line has set is not commented out.

    Args:
        resolved: a task's configuration; None: the core's keys alone.
        components: knows the options of the components in `resolved`.
    """
    if resolved is None or components is None:
        return _template(_core_tree(), _core_docs())
    config = resolved.config
    docs = _core_docs() | _component_docs(config, components)
    return _template(config.tree(), docs, lambda path: resolved.origin(path) in (Origin.FILE, Origin.CLI))


def _core_tree() -> dict[str, Any]:
    """The defaults of what the core knows without any component."""
    tree: dict[str, Any] = plain(RunSettings())
    tree["telemetry"] = RunSettings().telemetry.name.lower()
    for name, cls in CORE_SECTIONS.items():
        tree[name] = plain(cls())
        tree[name].pop("options", None)
    return tree


def _core_docs() -> dict[str, str]:
    docs = attribute_docs(RunConfig)
    for section, cls in CORE_SECTIONS.items():
        docs |= {f"{section}.{name}": text for name, text in attribute_docs(cls).items()}
    return docs


def _component_docs(config: RunConfig, components: OptionClasses) -> dict[str, str]:
    classes: dict[str, type | None] = {
        "task": components.option_class(Kind.TASK, config.task.name),
        "host": components.option_class(Kind.HOST, config.host.name),
        "policy": components.option_class(Kind.POLICY, config.policy.name),
    }
    classes |= {f"gates.{k}": cls for k, cls in components.gate_option_classes(config.gates.name).items()}
    classes |= {f"blueprints.{name}": components.option_class(Kind.BLUEPRINT, name) for name in config.blueprints}
    classes |= {f"sinks.{name}": components.option_class(Kind.SINK, name) for name in config.sinks.names}
    return {
        f"{path}.{name}": text for path, cls in classes.items() if cls for name, text in attribute_docs(cls).items()
    }


def _template(tree: dict[str, Any], docs: Mapping[str, str], live: Callable[[str], bool] = lambda path: False) -> str:
    return "\n".join(_lines(_with_words(tree), "", "", docs, live)).lstrip("\n") + "\n"


def _lines(
    data: Mapping[str, Any], path: str, header: str, docs: Mapping[str, str], live: Callable[[str], bool]
) -> Iterator[str]:
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    values = {key: value for key, value in data.items() if key not in tables}
    if header and (values or not tables):
        yield ""
        yield from _comment(docs.get(path, ""))
        yield f"[{header}]"
    for key, value in values.items():
        yield from _comment(docs.get(dotted(path, key), ""))
        line = f"{toml_key(key)} = {toml_value(value)}"
        yield line if live(dotted(path, key)) else f"# {line}"
    for key, table in tables.items():
        yield from _lines(table, dotted(path, key), dotted(header, toml_key(key)), docs, live)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")


def _with_words(tree: dict[str, Any]) -> dict[str, Any]:
    for section, key in _AUTO:
        if tree[section][key] is None:
            tree[section][key] = "auto"
    return tree


CORE_SECTIONS: Mapping[str, type[Any]] = {
    "policy": PolicyConfig,
    "gates": GatesConfig,
    "lifecycle": LifecycleConfig,
    "limits": GrowthLimits,
    "optimizer": OptimizerConfig,
    "rewards": RewardsConfig,
    "sinks": SinksConfig,
    "checkpoints": CheckpointsConfig,
    "plugins": PluginsConfig,
}
