"""The page about one plugin that ``esper plugins info`` prints."""

from collections.abc import Iterator
from typing import Any

import attrs

from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import PluginRecord, Registered, Status
from esper_core.plugins.resolve import config_class


def page(record: PluginRecord, plugins: PluginSet) -> str:
    """Describe a plugin: origin, hooks with their arguments, components with their options, problems."""
    lines = [f"{record.origin.plugin}: {record.status}", *_origin(record), *_hooks(record, plugins)]
    if record.kind is not None:
        lines += ["", *_kind(record.kind)]
    for registered in record.components:
        lines += ["", *_component(registered)]
    if record.problem:
        lines += ["", record.problem]
    return "\n".join(lines)


def _origin(record: PluginRecord) -> Iterator[str]:
    origin = record.origin
    editable = " (editable)" if origin.editable else ""
    facts = {
        "distribution": f"{origin.distribution} {origin.version}{editable}" if origin.distribution else "none",
        "entry point": origin.entry_point,
        "file": origin.file,
        "plugin API": record.api,
        "loaded in": None if record.load_ms is None else f"{record.load_ms:.1f} ms",
    }
    return (f"  {name:13} {value}" for name, value in facts.items() if value)


def _hooks(record: PluginRecord, plugins: PluginSet) -> Iterator[str]:
    title = "hooks"
    for hook in record.hooks:
        # What is not active is not called, and its hooks need not exist.
        called = plugins.implementations(hook) if record.status is Status.ACTIVE else ()
        arguments = [it.arguments for it in called if it.origin.plugin == record.origin.plugin]
        yield f"  {title:13} {hook}({', '.join(arguments[0])})" if arguments else f"  {title:13} {hook}"
        title = ""


def _kind(kind: PluginKind) -> Iterator[str]:
    yield f'kind "{kind.name}": {kind.summary}'
    facts = {
        "hook": kind.hook,
        "descriptor": f"{kind.spec.__module__}.{kind.spec.__qualname__}",
        "factory": kind.call,
        "gives": kind.protocol,
        "configured": kind.section.options_at if kind.section else "in no run",
        "distributions": f"esper-{kind.family}-NAME",
        "provisional": kind.provisional,
    }
    yield from (f"  {name:13} {value}" for name, value in facts.items() if value)


def _component(registered: Registered) -> Iterator[str]:
    spec = registered.spec
    yield f'{spec.kind} "{spec.name}": {spec.summary}'
    yield f"  {'factory':13} {spec.factory}"
    if spec.capabilities:
        yield f"  {'capabilities':13} {', '.join(sorted(spec.capabilities))}"
    if spec.unavailable:
        yield f"  {'unavailable':13} {spec.unavailable}"
    yield from _options(registered)


def _options(registered: Registered) -> Iterator[str]:
    try:
        cls = config_class(registered)
    except EsperError as error:
        yield str(error)
        return
    title = "options"
    for option in attrs.fields(cls) if cls else ():
        kind = option.type.__name__ if isinstance(option.type, type) else option.type
        yield f"  {title:13} {option.name}: {kind} = {_default(option)}"
        title = ""


def _default(option: "attrs.Attribute[Any]") -> str:
    """A default that is made each time is named, not made."""
    factory = getattr(option.default, "factory", None)
    return repr(option.default) if factory is None else f"{getattr(factory, '__name__', factory)}()"
