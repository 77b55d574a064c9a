"""Every option with its type, default and meaning, from the configuration classes."""

from collections.abc import Iterator, Sequence

from reference_components import registered
from reference_markdown import escaped, fields_table, page, written_default

from esper_app.configuration.config import RewardTermConfig, RunConfig, RunSettings
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.places import CORE_SECTIONS
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import GateSpec
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import config_class

INTRO = """\
A configuration is laid in layers: the built-in defaults, what the task suggests, a TOML file (`--config FILE`), and the
command line (`--set KEY=VALUE`). `esper config show TASK` prints what holds and where each value comes from,
`esper config init TASK` a file to begin with. An unknown key is an error, and so is a value of the wrong type.

`"none"` stands for no value, since TOML has none. Where no value means "choose what suits", `"auto"` may be written."""


def configuration_pages(plugins: PluginSet, own: Sequence[str]) -> dict[str, str]:
    """Return the page about the core's keys and the page about the options of bundled components."""
    sections = attribute_docs(RunConfig)
    parts = [INTRO, "## Keys without a section", fields_table(RunSettings, title="key", defaults=written_default)]
    for name in ("task", "host"):
        parts += [f"## `[{name}]`", _sentence(sections[name]), "`name`, and the options of that component."]
    for name, cls in CORE_SECTIONS.items():
        parts += [
            f"## `[{name}]`",
            _sentence(sections[name]),
            fields_table(cls, title="key", defaults=written_default, leave_out=["options"]),
        ]
    parts += [
        "### `[[rewards.terms]]`",
        "One table for each term: these keys, and the term's options.",
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
            "The options of everything that bundled plugins offer. `esper plugins info NAME` shows those of any other.",
            *components,
        ),
    }


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
