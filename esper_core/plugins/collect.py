"""Ask plugins for their descriptors, one implementation at a time, so that one that fails fails alone."""

from collections.abc import Iterable
from typing import Any

from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec, GateSpec
from esper_core.plugins.calling import Implementation
from esper_core.plugins.records import Origin, Registered


def collect(kind: PluginKind, implementation: Implementation) -> tuple[Registered, ...]:
    """Call one implementation of a kind's registration hook.

    Raises:
        EsperError: E141 if it raises, E142 if it returns anything but descriptors of the kind, E112 if two have the
            same name.
    """
    returned = implementation()
    if isinstance(returned, ComponentSpec) or not isinstance(returned, Iterable):
        raise _not_descriptors(kind, implementation.origin, f"it returned {_describe(returned)}")
    specs = implementation.guarded(lambda: list(returned))
    for spec in specs:
        if type(spec) is not kind.spec:  # a class of the plugin's own has no kind
            raise _not_descriptors(kind, implementation.origin, f"one of its results is {_describe(spec)}")
    _check_names_differ(specs, implementation.origin)
    return tuple(Registered(spec, implementation.origin) for spec in specs)


def _check_names_differ(specs: Iterable[ComponentSpec], origin: Origin) -> None:
    seen: set[str] = set()
    for spec in specs:
        title = f'{spec.kind} "{spec.name}"'
        place_in_set = f'gate {spec.level} of the set "{spec.gate_set}"' if isinstance(spec, GateSpec) else title
        for taken in {title, place_in_set}:
            if taken in seen:
                what = f"{origin.title} offers {taken} twice"
                raise EsperError("E112", what, where=origin.file, fix="rename one of them")
        seen |= {title, place_in_set}


def _not_descriptors(kind: PluginKind, origin: Origin, why: str) -> EsperError:
    expected = kind.spec.__name__
    return EsperError(
        "E142",
        f'"{kind.hook}" of {origin.title} returned something other than {expected} descriptors',
        where=origin.file,
        why=why,
        fix=f"yield {expected}(...), one for each component",
    )


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    return f"a single {type(value).__name__}" if isinstance(value, ComponentSpec) else f"{type(value).__name__}"
