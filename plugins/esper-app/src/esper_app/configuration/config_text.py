"""A configuration as text: as it holds, with the origin of each value, or as a file to begin with."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from esper_app.configuration.config import RunConfig, RunSettings
from esper_app.configuration.layers import Origin
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.places import CORE_SECTIONS, further_kinds
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.configuration.sections import OptionClasses
from esper_app.configuration.telemetry import TelemetryConfig
from esper_app.configuration.toml import dotted, to_toml, toml_key, toml_value
from esper_core.leyline.records import plain
from esper_core.leyline.specs import BlueprintSpec, GateSpec

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
    for name, cls in CORE_SECTIONS.items():
        tree[name] = plain(cls())
        tree[name].pop("options", None)
    tree["telemetry"]["level"] = TelemetryConfig().level.name.lower()
    return tree


def _core_docs() -> dict[str, str]:
    docs = attribute_docs(RunConfig)
    for section, cls in CORE_SECTIONS.items():
        docs |= {f"{section}.{name}": text for name, text in attribute_docs(cls).items()}
    return docs


def _component_docs(config: RunConfig, components: OptionClasses) -> dict[str, str]:
    docs = {it.section.name: it.summary for it in further_kinds(components.kinds) if it.section}
    for path, cls in _option_classes(config, components):
        if cls:
            docs |= {f"{path}.{name}": text for name, text in attribute_docs(cls).items()}
    return docs


def _option_classes(config: RunConfig, components: OptionClasses) -> Iterator[tuple[str, type | None]]:
    """The classes of options by the tables in which they stand; tables in lists are not described one by one."""
    for kind in components.kinds:
        if kind.section is None or kind.section.options_at.startswith("[["):
            continue
        if kind.name == GateSpec.kind:
            classes = components.gate_option_classes(config.gates.name)
            yield from ((f"{kind.section.name}.{level}", cls) for level, cls in classes.items())
            continue
        # A catalogue that is not spelt out has names all the same; only those with options have a table.
        names = config.blueprints if kind.name == BlueprintSpec.kind else config.names(kind)
        for name in names:
            path = f"{kind.section.name}.{name}" if kind.section.several else kind.section.name
            yield path, components.option_class(kind.name, name)


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
