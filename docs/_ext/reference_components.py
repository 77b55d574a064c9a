"""What a plugin can offer: the fields of each kind's descriptor, and a page for each bundled plugin."""

from collections.abc import Iterable, Iterator, Sequence

import attrs
from reference_markdown import fields_table, page, prose, python_default, table

from esper_app.configuration.option_docs import attribute_docs
from esper_core import api, specs
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered


def component_pages(plugins: PluginSet, own: Sequence[str]) -> dict[str, str]:
    """Return the page about kinds."""
    parts = [
        "A plugin offers components by returning descriptors from its hooks. A descriptor is a frozen record; the "
        "objects that it names by import strings are imported on first use.",
        "## Fields of all descriptors",
        fields_table(ComponentSpec, defaults=python_default),
        "### Capabilities",
        prose(specs.Capability.__doc__),
        table(["capability", "meaning"], _capabilities()),
    ]
    common = [field.name for field in attrs.fields(ComponentSpec)]
    for kind in plugins.registry.kinds:
        parts += [
            f"## {kind.name.replace('-', ' ').capitalize()}: `{kind.spec.__name__}`",
            prose(kind.spec.__doc__),
            _offered(kind),
            fields_table(kind.spec, defaults=python_default, leave_out=common),
            _bundled(registered(plugins, own, kind), kind),
        ]
    return {"kinds.md": page("Plugin kinds", *parts)}


def _offered(kind: PluginKind) -> str:
    hook = f"[`{kind.hook}`](hooks/{kind.hook}.md)" if kind in KINDS else f"`{kind.hook}`"
    place = f"A run's configuration has its options in `{kind.section.options_at}`." if kind.section else ""
    provisional = f"**Provisional**, it may change in any version: {kind.provisional}." if kind.provisional else ""
    return " ".join(filter(None, [f"Offered by the hook {hook}.", _returned(kind), place, provisional]))


def _returned(kind: PluginKind) -> str:
    module, _, name = kind.protocol.partition(":")
    known = module == api.__name__ and hasattr(api, name)
    return f"The factory returns a {{py:class}}`{module}.{name}`." if known else ""


def registered(plugins: PluginSet, own: Iterable[str], kind: PluginKind) -> Iterator[Registered]:
    """Yield the bundled components of a kind, in the order of their plugins."""
    for record in plugins.records:
        if record.origin.distribution in own:
            yield from (it for it in record.components if type(it.spec) is kind.spec)


def _capabilities() -> Iterator[list[str]]:
    docs = attribute_docs(specs.Capability)
    yield from ([f"`{it.value}`", docs[it.name]] for it in specs.Capability)


def _bundled(found: Iterable[Registered], kind: PluginKind) -> str:
    names = {f"[`{getattr(it.spec, kind.named_by)}`](plugins/{it.origin.distribution}.md)": None for it in found}
    return f"Bundled: {', '.join(names)}." if names else ""
