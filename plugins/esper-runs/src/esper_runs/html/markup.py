"""Markup made of elements, as HTML or as plain data. What strangers wrote is a text in it, and nothing else."""

from collections.abc import Iterable
from html import escape
from typing import Any

from attrs import frozen

from esper_runs.printing import printable
from esper_runs.tables import Cell, Table

#: No text is longer: a cell holds a sentence or two.
MOST_CHARACTERS = 1_000

#: No table has more rows: a page is for looking at.
MOST_ROWS = 400

#: The style sheet aligns as many columns.
_MOST_CLASSES = 16

_EMPTY = {"meta", "link"}

#: Attributes that Esper itself writes, of any length.
_OWN = {"content", "d", "data_epochs", "data_x", "data_y"}


@frozen
class _Element:
    name: str
    attributes: tuple[tuple[str, str | None], ...]
    children: "Markup"


@frozen
class _Raw:
    html: str


@frozen
class Markup:
    """Elements and texts, in order. As a `str` it is HTML, in which every text is escaped."""

    nodes: tuple["_Element | _Raw | str", ...] = ()

    def __str__(self) -> str:
        return "".join(map(_html, self.nodes))


def raw(html: str) -> Markup:
    """Return Esper's own style or script as it is."""
    return Markup((_Raw(html),))


def text(value: object) -> Markup:
    """Return any text: shortened, with U+FFFD in place of control characters."""
    return Markup((_shortened(value),))


def joined(children: Iterable[Any]) -> Markup:
    """Return children one behind the other: markup as it is, None as nothing, everything else as text."""
    nodes: list[_Element | _Raw | str] = []
    for child in children:
        if isinstance(child, Markup):
            nodes += child.nodes
        elif child is not None:
            nodes.append(_shortened(child))
    return Markup(tuple(nodes))


def element(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        name: its name, which is the caller's own.
        children: as `joined` takes them.
        attributes: a trailing underscore is left out, others become hyphens; None and False leave an attribute out,
            True leaves it without a value.
    """
    written = tuple(
        (
            key.rstrip("_").replace("_", "-"),
            None if value is True else printable(str(value)) if key in _OWN else _shortened(value),
        )
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup((_Element(name, written, joined(children)),))


def tree(markup: Markup) -> list[Any]:
    """Return markup as plain data: a text for a text, ``[name, {attribute: value}, [child, ...]]`` for an element.

    Raises:
        TypeError: if it has a style or a script in it.
    """
    return [node if isinstance(node, str) else _branch(node) for node in markup.nodes]


def section(title: str, *children: Any, level: int = 3, **attributes: Any) -> Markup:
    """Return a section with a heading."""
    return element("section", element(f"h{level}", title), *children, **attributes)


def details(summary: str | Markup, *children: Any, **attributes: Any) -> Markup:
    """Return a part of the page that is closed until somebody opens it; printing opens it."""
    return element("details", element("summary", summary), *children, **attributes)


def note(words: str, style: str = "note") -> Markup:
    """Return a paragraph that explains something, or says what is missing."""
    return element("p", words, class_=style)


def table(data: Table, caption: str, *, labelled: bool = False) -> Markup:
    """Return a table; where a screen is narrow, rows of sentences are stacked, and tables of figures scroll.

    Args:
        data: the table.
        caption: what it shows.
        labelled: cells know their column's title, so that a style sheet can show it where rows are stacked.
    """
    titles = [column.title if labelled and column.title else None for column in data.columns]
    # Classes of columns stand once at the table: at every cell they would be a fifth of the page.
    classes = ["prose"] if any(column.prose for column in data.columns) else []
    for number, column in enumerate(data.columns[:_MOST_CLASSES], 1):
        classes += [f"r{number}"] if column.right else [f"p{number}"] if column.prose else []
    head = (element("th", column.title, scope="col") for column in data.columns)
    rows = (
        element(
            "tr",
            *(
                element("td", cell.text, class_=cell.style or None, data_title=title)
                for cell, title in zip(map(_cell, row), titles, strict=True)
            ),
        )
        for row in data.rows[:MOST_ROWS]
    )
    body = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_=" ".join(classes) or None,
    )
    left_out = len(data.rows) - MOST_ROWS
    more = note(f"{left_out:,} further rows are left out.") if left_out > 0 else None
    return joined((element("div", body, class_="scroll", role="region", tabindex="0", aria_label=caption), more))


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _shortened(value: object) -> str:
    words = str(value)
    if len(words) > MOST_CHARACTERS:
        words = f"{words[:MOST_CHARACTERS]}… ({len(words) - MOST_CHARACTERS:,} more characters)"
    return printable(words)


def _html(node: "_Element | _Raw | str") -> str:
    if isinstance(node, str):
        return escape(node, quote=True)
    if isinstance(node, _Raw):
        return node.html
    written = "".join(
        f" {name}" + ("" if value is None else f'="{escape(value, quote=True)}"') for name, value in node.attributes
    )
    end = "" if node.name in _EMPTY else f"</{node.name}>"
    return f"<{node.name}{written}>{node.children}{end}"


def _branch(node: _Element | _Raw) -> list[Any]:
    if isinstance(node, _Raw):
        raise TypeError("a style or a script is no plain data")
    return [node.name, {name: value or "" for name, value in node.attributes}, tree(node.children)]
