"""The bounds of a blueprint's options: whether they fit its options class, and whether options are within them."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import NoneType
from typing import Any, get_args, get_type_hints

import attrs

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import build_config, config_class
from esper_karn.kinds import Bounds, DossierSpec


def misfits(dossier: DossierSpec, blueprint: Registered) -> Iterator[str]:
    """Yield in words what a dossier says of its blueprint's options that is not so.

    Raises:
        EsperError: E160 if the blueprint's options class cannot be loaded.
    """
    cls = config_class(blueprint)
    hints = {} if cls is None else get_type_hints(cls)
    for option, bounds in dossier.bounds.items():
        if cls is None or option not in hints:
            near = did_you_mean(option, hints) if hints else "it has no options"
            yield f'"{option}" is not an option of {blueprint.spec.name}; {near}'
        elif (kind := type(bounds[0])) not in (accepted := _numbers(hints[option])):
            yield f'"{option}" takes {_words(accepted)}, its bounds are {kind.__name__}s'
        else:
            yield from _refused(blueprint, cls, option, bounds)


def outside(bounds: Mapping[str, Bounds], options: Any) -> Iterator[tuple[str, Any, Bounds]]:
    """Yield each option that is not within its bounds, with its value and the bounds. None is within any."""
    for option, (low, high) in bounds.items():
        value = getattr(options, option, None)
        if value is not None and not low <= value <= high:
            yield option, value, (low, high)


def _numbers(hint: Any) -> tuple[type, ...]:
    kinds = {*get_args(hint)} - {NoneType} or {hint}
    return tuple(kind for kind in (int, float) if kind in kinds)


def _words(kinds: tuple[type, ...]) -> str:
    return " or ".join(f"{kind.__name__}s" for kind in kinds) or "no numbers"


def _refused(blueprint: Registered, cls: type, option: str, bounds: Bounds) -> Iterator[str]:
    """Both ends have to be values that the blueprint takes, and what it does by itself has to be within them."""
    build = partial(build_config, blueprint, path="")
    for end in bounds:
        try:
            build({option: end})
        except EsperError as error:
            yield f'"{option}" may be {end!r} by its bounds, which the blueprint refuses: {error.why or error.what}'
    default = getattr(build({}), option)
    if default is not None and not bounds[0] <= default <= bounds[1]:
        yield f'"{option}" is {default!r} by default, which is outside of its bounds {bounds!r}'


def option_names(blueprint: Registered) -> tuple[str, ...]:
    """Return the names of a blueprint's options. Raises EsperError E160 if they cannot be loaded."""
    cls = config_class(blueprint)
    return () if cls is None else tuple(it.name for it in attrs.fields(cls))
