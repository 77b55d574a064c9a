"""Which plugins use what the plugin API has no more, or will not have much longer."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import NOTHING, Attribute, fields

from esper_core.leyline.deprecation import Deprecation
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import ComponentSpec
from esper_core.plugins.records import Origin
from esper_core.plugins.verify import Found

#: Hooks that went, with what stands in their place. A plugin that has one works on without it.
GONE: Mapping[str, str] = {
    "esper_commands": 'an entry point of the group "esper.commands": name = "package.module:command"',
}


def without_gone(found: Found, origin: Origin) -> tuple[Found, tuple[EsperError, ...]]:
    """Leave out implementations of hooks that went, with a warning, E124, for each."""
    gone = [hook for hook in found.implementations if hook in GONE]
    kept = {hook: it for hook, it in found.implementations.items() if hook not in GONE}
    warnings = (
        EsperError(
            "E124",
            f'{origin.title} implements the hook "{hook}", which is not called any more',
            where=origin.file,
            why="the plugin API has another way for this",
            fix=f"use {GONE[hook]}",
        )
        for hook in gone
    )
    return found._replace(implementations=kept), tuple(warnings)


def deprecated_uses(
    found: Found, specs: Iterable[ComponentSpec], origin: Origin, deprecations: Iterable[Deprecation]
) -> tuple[EsperError, ...]:
    """Return a warning, E124, for each deprecated thing that a plugin uses: once, however often it does.

    Args:
        found: its hook implementations.
        specs: its descriptors.
        origin: the plugin.
        deprecations: what is deprecated.
    """
    by_name = {it.name: it for it in deprecations}
    if not by_name:
        return ()
    used = dict.fromkeys([*_used_in_hooks(found), *(name for spec in specs for name in _set_fields(spec))])
    return tuple(_warning(by_name[name], origin) for name in used if name in by_name)


def _used_in_hooks(found: Found) -> Iterator[str]:
    for hook, (function, _) in found.implementations.items():
        yield hook
        yield from (f"{hook}.{argument}" for argument in inspect.signature(function).parameters)


def _set_fields(spec: ComponentSpec) -> Iterator[str]:
    """A field that has its default was probably left alone; one of every descriptor may be named after each class."""
    for field in fields(type(spec)):
        if getattr(spec, field.name) != _default(field):
            yield from (f"{cls.__name__}.{field.name}" for cls in (type(spec), ComponentSpec))


def _default(field: "Attribute[Any]") -> Any:
    default: Any = field.default
    converter: Any = field.converter
    made = default.factory() if hasattr(default, "factory") else default
    return made if made is NOTHING or converter is None else converter(made)


def _warning(deprecation: Deprecation, origin: Origin) -> EsperError:
    return EsperError(
        "E124",
        f'{origin.title} uses "{deprecation.name}", which plugin API {deprecation.removal} will not have; '
        f"use {deprecation.instead}",
        where=origin.file,
        why=f"it is deprecated since plugin API {deprecation.since}",
        fix=f"use {deprecation.instead}",
    )
