"""Every option with its type, default and meaning, from the configuration classes."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
from reference_components import registered
from reference_markdown import escaped, fields_table, page, written_default

from esper_app.configuration.config import RewardTermConfig, RunConfig, RunSettings
from esper_app.configuration.config_text import template_toml
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.places import CORE_SECTIONS
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import GateSpec
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import config_class

INTRO = """\
A configuration has four layers: the built-in defaults, the task's settings, a TOML file (`--config FILE`), and the
command line (`--set KEY=VALUE`). Each overrides the one before. `esper config show TASK` prints the resulting values
and where each comes from, and `esper config init TASK` prints a file to start from. An unknown key is an error, and so
is a value of the wrong type.

A value that is left out is not the same as `"none"`:

- **left out**: the value of the layer below holds, in the end the default in the tables below.
- **`"none"`**: no value, which the descriptions below call None. TOML has no null, so it is written as this word. What
  it means stands with the key: usually no limit, or nothing of the kind. It undoes a value of a layer below.
- **`"auto"`**: also no value, and accepted for every key that may be None and is not a text. It is the word for keys
  for which Esper then chooses a value, such as `policy.blueprints`, and `esper config show` prints it there.

A few keys have a value that is called `none` and is a choice like the others: `twin` and `lifecycle.incubation`."""


def configuration_pages(plugins: PluginSet, own: Sequence[str]) -> dict[str, str]:
    """Return the page about the core's keys and the page about the options of bundled components."""
    sections, automatic = attribute_docs(RunConfig), _automatic()
    parts = [INTRO, "## Keys without a section", fields_table(RunSettings, title="key", defaults=written_default)]
    for name in ("task", "host"):
        parts += [f"## `[{name}]`", _sentence(sections[name]), "`name`, and the options of that component."]
    for name, cls in CORE_SECTIONS.items():
        parts += [
            f"## `[{name}]`",
            _sentence(sections[name]),
            fields_table(cls, title="key", defaults=_default_in(name, automatic), leave_out=["options"]),
        ]
    parts += [
        "### `[[rewards.terms]]`",
        "One table for each term, with these keys and the term's options.",
        fields_table(RewardTermConfig, title="key", defaults=written_default, leave_out=["options"]),
        f"## `[blueprints]`\n\n{_sentence(sections['blueprints'])}",
    ]
    components = [
        text
        for kind in plugins.registry.kinds
        for it in registered(plugins, own, kind)
        for text in _component(it, kind)
    ]
    return {
        "configuration.md": page("Configuration", *parts),
        "options.md": page(
            "Options of components",
            "The options of all components in bundled plugins. `esper plugins info NAME` shows those of any plugin.",
            *components,
        ),
    }


def _automatic() -> frozenset[tuple[str, str]]:
    """Return the section and the key of each option that `esper config` shows as "auto" by default."""
    section, found = "", set()
    for line in template_toml().splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            section = header[1]
        elif option := re.fullmatch(r'# (\w+) = "auto"', line):
            found.add((section, option[1]))
    return frozenset(found)


def _default_in(section: str, automatic: frozenset[tuple[str, str]]) -> Callable[["attrs.Attribute[Any]"], str]:
    return lambda option: '`"auto"`' if (section, option.name) in automatic else written_default(option)


def _component(it: Registered, kind: PluginKind) -> Iterator[str]:
    cls = config_class(it)
    if cls is None:
        return
    of = f", level {it.spec.level}" if isinstance(it.spec, GateSpec) else ""
    place = f"`{kind.section.header(it.spec)}`, " if kind.section else ""
    yield f"## {kind.name.replace('-', ' ')} `{getattr(it.spec, kind.named_by)}`{of}"
    yield f"{place}from [{it.origin.distribution}](plugins/{it.origin.distribution}.md). {escaped(it.spec.summary)}"
    yield fields_table(cls, title="option", defaults=written_default)


def _sentence(text: str) -> str:
    return f"{escaped(text[:1].upper() + text[1:])}"
