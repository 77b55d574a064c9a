"""What a plugin can offer: the fields of each kind's descriptor, and a page for each bundled plugin."""

from collections.abc import Iterable, Iterator, Sequence

import attrs
from reference_markdown import fields_table, page, prose, python_default, table

from esper_app.configuration.option_docs import attribute_docs
from esper_core import api, specs
from esper_core.leyline.specs import KIND_BY_SPEC, ComponentSpec, GateSpec, Kind
from esper_core.plugins.collect import SPEC_BY_HOOK
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered

#: What the factory of a kind gives, where it is a class of ours.
_GIVES = {
    Kind.HOST: api.HostBuild,
    Kind.GATE: api.Gate,
    Kind.REWARD_TERM: api.RewardTerm,
    Kind.POLICY: api.Actor,
    Kind.SINK: api.Sink,
    Kind.TASK: api.Task,
}


def component_pages(plugins: PluginSet, own: Sequence[str]) -> dict[str, str]:
    """Return the page about kinds."""
    hook_by_spec = {spec: hook for hook, spec in SPEC_BY_HOOK.items()}
    parts = [
        "A plugin offers components by returning descriptors from its hooks. A descriptor is a frozen record; what it "
        "names by an import string is imported on first use.",
        "## What all descriptors have",
        fields_table(ComponentSpec, defaults=python_default),
        "### Capabilities",
        prose(specs.Capability.__doc__),
        table(["capability", "meaning"], _capabilities()),
    ]
    for spec, kind in KIND_BY_SPEC.items():
        common = [field.name for field in attrs.fields(ComponentSpec)]
        hook = hook_by_spec[spec]
        gives = _GIVES.get(kind)
        parts += [
            f"## {kind.value.replace('-', ' ').capitalize()}: `{spec.__name__}`",
            prose(spec.__doc__),
            f"Offered by the hook [`{hook}`](hooks/{hook}.md)."
            + (f" The factory gives a {{py:class}}`esper_core.api.{gives.__name__}`." if gives else ""),
            fields_table(spec, defaults=python_default, leave_out=common),
            _bundled(registered(plugins, own, kind)),
        ]
    return {"kinds.md": page("Plugin kinds", *parts)}


def registered(plugins: PluginSet, own: Iterable[str], kind: Kind) -> Iterator[Registered]:
    """Yield the bundled components of a kind, in order of their plugins."""
    for record in plugins.records:
        if record.origin.distribution in own:
            yield from (it for it in record.components if it.spec.kind is kind)


def component_name(it: Registered) -> str:
    """Return the name by which a configuration names it: for a gate, that of its set."""
    return it.spec.gate_set if isinstance(it.spec, GateSpec) else it.spec.name


def _capabilities() -> Iterator[list[str]]:
    docs = attribute_docs(specs.Capability)
    yield from ([f"`{it.value}`", docs[it.name]] for it in specs.Capability)


def _bundled(found: Iterable[Registered]) -> str:
    names = {f"[`{component_name(it)}`](plugins/{it.origin.distribution}.md)": None for it in found}
    return f"Bundled: {', '.join(names)}." if names else ""
