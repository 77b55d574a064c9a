"""Pieces of Markdown."""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from inspect import cleandoc, formatannotation
from typing import Any

import attrs

from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.toml import toml_value
from esper_core.leyline.records import plain

_SECTION = re.compile(r"^(Attributes|Args|Returns|Yields|Raises):$", re.MULTILINE)
_DOTTED = re.compile(r"\b(?:\w+\.)+(\w+)")


def page(title: str, *parts: str) -> str:
    """Return a page of paragraphs, tables and further headings."""
    return "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"


def code(text: str, language: str = "") -> str:
    """Return a code block."""
    return f"```{language}\n{text.strip()}\n```"


def escaped(text: str) -> str:
    """Return the text of a docstring with all markup escaped except code marks."""
    pieces = re.split(r"(`+[^`]+`+)", text)
    return "".join(it if i % 2 else re.sub(r"([*<\\])", r"\\\1", it) for i, it in enumerate(pieces))


def prose(docstring: str | None) -> str:
    """Return a docstring's text up to its first section (``Attributes:`` and the like)."""
    return escaped(_SECTION.split(cleandoc(docstring or ""))[0].strip())


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; an empty text if there are no rows."""
    lines = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {line} |" for line in [" | ".join(headers), " | ".join("---" for _ in headers), *lines])


def fields_table(
    cls: type,
    *,
    title: str = "field",
    defaults: Callable[["attrs.Attribute[Any]"], str] | None = None,
    leave_out: Iterable[str] = (),
) -> str:
    """Return a table of the fields of an attrs class: name, type, default (if requested), description."""
    docs, left_out = attribute_docs(cls), set(leave_out)
    rows = [
        [
            f"`{it.name}`",
            f"`{type_name(it.type)}`",
            *([defaults(it)] if defaults else []),
            escaped(docs.get(it.name, "")),
        ]
        for it in attrs.fields(cls)
        if it.init and it.name not in left_out
    ]
    return table([title, "type", *(["default"] if defaults else []), "meaning"], rows)


def type_name(annotation: Any) -> str:
    """Return an annotation without module names."""
    text = annotation if isinstance(annotation, str) else formatannotation(annotation)
    return _DOTTED.sub(r"\1", text).replace("'", "").replace('"', "")


def written_default(option: "attrs.Attribute[Any]") -> str:
    """Return the default of a field as it is written in a configuration file."""
    if option.default is attrs.NOTHING:
        return "required"
    value = option.default
    if factory := getattr(value, "factory", None):
        if getattr(value, "takes_self", False):
            return "depends on other options"
        value = factory()
    if isinstance(value, IntEnum):
        value = value.name.lower()
    return f"`{toml_value(plain(value))}`"


def python_default(option: "attrs.Attribute[Any]") -> str:
    """Return the default of a field as it is written in Python."""
    if option.default is attrs.NOTHING:
        return "required"
    factory = getattr(option.default, "factory", None)
    if getattr(option.default, "takes_self", False):
        return "follows from the others"
    return f"`{option.default!r}`" if factory is None else f"`{factory()!r}`"
