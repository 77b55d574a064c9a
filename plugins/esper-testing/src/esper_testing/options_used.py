"""Whether options of a component have an effect."""

import ast
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.structure import structure
from esper_testing.check import CheckFailure, NotApplicable
from esper_testing.subject import Subject, resolved
from esper_testing.usage import picture

#: Metadata of an option that changes nothing that can be seen, with what it changes instead.
UNSEEN = "esper_unseen"

#: What is tried for an option that is None by default.
_INSTEAD_OF_NONE = (1, 2, 3, 0.5, 0.1, True)


def require_used(subject: Subject[Any]) -> None:
    """Raise a CheckFailure for an option without an effect, NotApplicable if there are no options."""
    cls = resolved(subject.spec.config)
    if cls is None:
        raise NotApplicable("it has no options")
    options = [option for option in attrs.fields(cls) if option.init]
    read = _read(subject)
    for option in options:
        if subject.shows_options and UNSEEN not in option.metadata:
            tried = _without_effect(subject, option, options)
            if tried:
                raise CheckFailure(
                    f"with {option.name} = {', '.join(tried)} all is as with {getattr(subject.config, option.name)!r}",
                    cause="an option that is not read, or read and not used",
                    fix="use it or take it out; if it changes speed or memory alone, say so: "
                    f'metadata={{"{UNSEEN}": "speed"}}',
                )
        if option.name not in read and not _is_mentioned(subject, option.name):
            raise CheckFailure(
                f"nobody reads the option {option.name}",
                cause="an option that was planned, or whose use was taken out",
                fix="use it, or take it out of the options class",
            )


def _without_effect(subject: Subject[Any], option: Any, options: list[Any]) -> list[str]:
    """Return the values that were tried if none of them makes a difference; nothing if one does, or none could be."""
    tried: list[str] = []
    for beside in _bases(subject.config, option, options):
        before = None
        for config in _others(beside, option):
            before = before or _seen(subject, beside)
            if _seen(subject, config) != before:
                return []
            tried.append(repr(getattr(config, option.name)))
    return sorted(set(tried))


def _bases(config: Any, option: Any, options: list[Any]) -> Iterator[Any]:
    """Yield the options as they are, then with each other one changed: one may matter only beside another."""
    yield config
    for other in options:
        if other is not option:
            yield from _others(config, other)


def _others(config: Any, option: Any) -> Iterator[Any]:
    """Yield the same options with other values of one, as far as the class takes them."""
    value = getattr(config, option.name)
    written = {a.name: plain(getattr(config, a.name)) for a in attrs.fields(type(config)) if a.init}
    for candidate in _candidates(value):
        data = {**written, option.name: plain(candidate)}
        try:
            made: Any = structure(type(config), {key: item for key, item in data.items() if item is not None})
        except (EsperError, TypeError, ValueError):
            continue
        if getattr(made, option.name) != value:
            yield made


def _candidates(value: Any) -> Iterator[Any]:
    if value is None:
        yield from _INSTEAD_OF_NONE
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, Enum):
        yield from (member for member in type(value) if member is not value)
    elif isinstance(value, int):
        yield from (2 * value, value // 2, value + 1, value - 1, 0, 1, 2, 1000)
    elif isinstance(value, float):
        yield from (value / 2, 2 * value, 0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 100.0)
    elif isinstance(value, tuple) and value:
        yield from (value[:-1], (*value, value[-1]))
        yield from ((other, *value[1:]) for other in _candidates(value[0]))


def _seen(subject: Subject[Any], config: Any) -> str:
    """What the component is and does with these options, also that it refuses them, as a text to compare."""
    try:
        return picture(evolve(subject, config=config).fingerprint())
    except NotApplicable:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _read(subject: Subject[Any]) -> set[str]:
    """Return the names of the options that are read while the component is built and used."""
    read: set[str] = set()
    cls: Any = type(subject.config)

    def reading(self: Any, name: str) -> Any:
        read.add(name)
        return cls.__getattribute__(self, name)

    watching = type(cls.__name__, (cls,), {"__getattribute__": reading, "__module__": cls.__module__})
    config: Any = object.__new__(watching)
    for attribute in attrs.fields(cls):
        object.__setattr__(config, attribute.name, getattr(subject.config, attribute.name))
    looked_at = evolve(subject, config=config)
    read.clear()
    try:
        looked_at.fingerprint()
    except NotApplicable:
        looked_at.build_any()
    return read


def _is_mentioned(subject: Subject[Any], name: str) -> bool:
    """Whether the code of the component's distribution reads an attribute of this name anywhere."""
    module = getattr(subject.factory, "__module__", "")
    package = module.partition(".")[0]
    modules = [found for key, found in sys.modules.items() if key == module or key.startswith(f"{package}.")]
    files = {file for found in modules if (file := getattr(found, "__file__", None)) and file.endswith(".py")}
    own = Path(sys.modules[package].__file__ or "").parent if hasattr(sys.modules.get(package), "__path__") else None
    if own is not None:
        files |= {str(path) for path in own.rglob("*.py")}
    return any(name in _attributes(Path(file)) for file in files)


def _attributes(file: Path) -> set[str]:
    """The attributes that a file reads, by their names, or asks for by a text."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            found |= {it.value for it in node.args if isinstance(it, ast.Constant) and isinstance(it.value, str)}
    return found
