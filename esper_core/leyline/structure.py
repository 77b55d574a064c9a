"""Plain data into attrs records, strictly: nothing is coerced, nothing unknown is dropped, errors carry the path."""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError, ClassValidationError, Converter, IterableValidationError
from cattrs.cols import is_any_set, is_mapping, is_sequence
from cattrs.errors import ForbiddenExtraKeysError, IterableValidationNote, StructureHandlerNotFoundError
from cattrs.strategies import configure_union_passthrough

from esper_core.leyline.errors import EsperError, did_you_mean

T = TypeVar("T")

#: TOML has no null: the first word stands for None wherever a field may be None, the second one too if it is not text.
NONE_WORDS = ("none", "auto")


#: Tells where the value at a dotted path was written.
Source = Callable[[str], str | None]


def structure(cls: type[T], data: Any, *, path: str = "", source: str | Source | None = None) -> T:
    """Build a `cls` (an attrs class, or any annotation made of builtins and enums) from plain data.

    Args:
        cls: what to build.
        data: mappings, lists, text, numbers and booleans, as TOML or JSON give them.
        path: dotted path of `data` in what the user wrote, for messages.
        source: where it was written (a file, an option), or a function that tells it for a path; for messages.

    Raises:
        EsperError: E201 for an unknown key (with the nearest known one), E202 for a value that does not fit. Of
            several problems the first is told.
    """
    try:
        return converter().structure(data, cls)
    except (BaseValidationError, StructureHandlerNotFoundError, TypeError, ValueError) as error:
        where, cause = next(_leaves(error, path))
        raise _explain(where, cause, source) from error


@cache
def converter() -> Converter:
    """Return the strict converter: no number becomes text, no 1.5 an integer, no 1 a boolean, no text a list."""
    strict = Converter(forbid_extra_keys=True, detailed_validation=True)
    configure_union_passthrough(str | bool | int | float | None, strict)
    for scalar, accepted, title in _SCALARS:
        strict.register_structure_hook(scalar, _scalar_hook(scalar, accepted, title))
    _guard(strict, is_sequence, (list, tuple), "a list")
    _guard(strict, is_any_set, (list, tuple, set, frozenset), "a list")
    _guard(strict, is_mapping, Mapping, "a table")
    _guard(strict, attrs.has, Mapping, "a table")
    strict.register_structure_hook_factory(_is_optional, _optional_hook)
    strict.register_structure_hook(Enum, _enum)
    return strict


_SCALARS: tuple[tuple[type, tuple[type, ...], str], ...] = (
    (str, (str,), "text"),
    (bool, (bool,), "true or false"),
    (int, (int,), "an integer"),
    (float, (float, int), "a number"),
)


def _scalar_hook(scalar: type, accepted: tuple[type, ...], title: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, kind: Any) -> Any:
        # cattrs hands enumerations that mix a scalar in to the scalar's hook.
        if issubclass(kind, Enum):
            return _enum(value, kind)
        if not isinstance(value, accepted) or (isinstance(value, bool) and scalar is not bool):
            raise TypeError(f"expected {title}, got {value!r}")
        return scalar(value)

    return hook


def _guard(strict: Converter, applies: Callable[[Any], bool], accepted: Any, title: str) -> None:
    """Let cattrs build what `applies` holds for, once the value is known to be of an accepted type."""

    def factory(kind: Any, _: Any) -> Callable[[Any, Any], Any]:
        build = _outermost(kind, strict)

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, accepted):
                raise TypeError(f"expected {title}, got {value!r}")
            return build(value, kind)

        return hook

    strict.register_structure_hook_factory(applies, factory)


def _outermost(kind: Any, strict: Converter) -> Callable[[Any, Any], Any]:
    """Return cattrs' own hook for `kind`, which leaves everything inside of it to the strict converter."""
    shell = Converter(forbid_extra_keys=True, detailed_validation=True)
    for scalar in (*(scalar for scalar, _, _ in _SCALARS), Enum):
        shell.register_structure_hook(scalar, strict.structure)
    shell.register_structure_hook_func(lambda inner: inner != kind, strict.structure)
    return shell.get_structure_hook(kind)


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and len(get_args(kind)) == 2 and NoneType in get_args(kind)


def _optional_hook(kind: Any, strict: Converter) -> Callable[[Any, Any], Any]:
    inner = next(argument for argument in get_args(kind) if argument is not NoneType)
    build = strict.get_structure_hook(inner)
    words = NONE_WORDS[:1] if inner is str else NONE_WORDS

    def hook(value: Any, _: Any) -> Any:
        return None if value is None or (isinstance(value, str) and value in words) else build(value, inner)

    return hook


def _enum(value: Any, kind: Any) -> Any:
    """By name, in any case, where the values are numbers; else by value, or as `_missing_` of the enumeration says."""
    if isinstance(value, kind):
        return value
    by_name = issubclass(kind, IntEnum)
    members = {member.name.lower() if by_name else member.value: member for member in kind}
    key = value.lower() if by_name and isinstance(value, str) else value
    found = members.get(key) if isinstance(key, str) else kind._missing_(value)
    if found is None:
        raise ValueError(f"expected one of {', '.join(members)}, got {value!r}")
    return found


def _leaves(error: Exception, path: str) -> Iterator[tuple[str, Exception]]:
    if not isinstance(error, ClassValidationError | IterableValidationError):
        yield path, error
        return
    noted, bare = error.group_exceptions()
    for inner, note in noted:
        step = note.index if isinstance(note, IterableValidationNote) else note.name
        yield from _leaves(inner, f"{path}[{step}]" if isinstance(step, int) else _join(path, step))
    for inner in bare:
        yield _join(path, _attribute_named_in(inner, error.cl)), inner


def _attribute_named_in(error: Exception, cls: Any) -> str:
    """A record's validators speak of the whole record; by attrs' custom they begin with the attribute's name."""
    quoted = re.match(r"'(\w+)'", _message(error))
    names = {attribute.name for attribute in attrs.fields(cls)} if attrs.has(cls) else set()
    return quoted[1] if quoted and quoted[1] in names else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _message(error: Exception) -> str:
    told = str(error.args[0]) if error.args else type(error).__name__
    return re.sub(r"(.*) not in literal typing\.Literal\[(.*)\]", r"expected one of \2, got \1", told)


def _explain(path: str, cause: Exception, source: str | Source | None) -> EsperError:
    if isinstance(cause, ForbiddenExtraKeysError):
        key = sorted(cause.extra_fields)[0]
        path = _join(path, key)
        fix = did_you_mean(key, [attribute.name for attribute in attrs.fields(cause.cl)])
        return EsperError("E201", f'unknown key "{path}"', where=_place(path, source), fix=fix)
    what = f'the value of "{path}" is not valid'
    return EsperError("E202", what, where=_place(path, source), why=_message(cause))


def _place(path: str, source: str | Source | None) -> str | None:
    return source(path) if callable(source) else source
