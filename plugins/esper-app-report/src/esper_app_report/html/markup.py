"""HTML made of elements: every text is escaped, because names and reasons may come from strangers."""

from collections.abc import Iterable
from html import escape
from typing import Any

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


class Markup(str):
    """HTML that is already escaped."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Return any text as HTML: escaped, shortened, with U+FFFD in place of control characters."""
    words = str(value)
    if len(words) > MOST_CHARACTERS:
        words = f"{words[:MOST_CHARACTERS]}… ({len(words) - MOST_CHARACTERS:,} more characters)"
    return _escaped(words)


def _escaped(words: str) -> Markup:
    return Markup(escape(printable(words), quote=True))


def joined(children: Iterable[Any]) -> Markup:
    """Return children as HTML: markup as it is, None as nothing, everything else as text."""
    return Markup(
        "".join(child if isinstance(child, Markup) else text(child) for child in children if child is not None)
    )


def element(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        name: its name, which is the caller's own.
        children: as `joined` takes them.
        attributes: a trailing underscore is left out, others become hyphens; None and False leave an attribute out,
            True leaves it without a value.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{_escaped(str(value)) if key in _OWN else text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    end = "" if name in _EMPTY else f"</{name}>"
    return Markup(f"<{name}{written}>{joined(children)}{end}")


def section(title: str, *children: Any, level: int = 3, **attributes: Any) -> Markup:
    """Return a section with a heading."""
    return element("section", element(f"h{level}", title), *children, **attributes)


def details(summary: str, *children: Any) -> Markup:
    """Return a part of the page that is closed until somebody opens it; printing opens it."""
    return element("details", element("summary", summary), *children)


def note(words: str, style: str = "note") -> Markup:
    """Return a paragraph that explains something, or says what is missing."""
    return element("p", words, class_=style)


def table(data: Table, caption: str) -> Markup:
    """Return a table; where a screen is narrow, rows of sentences are stacked, and tables of figures scroll."""
    # Classes of columns stand once at the table: at every cell they would be a fifth of the page.
    classes = ["prose"] if any(column.prose for column in data.columns) else []
    for number, column in enumerate(data.columns[:_MOST_CLASSES], 1):
        classes += [f"r{number}"] if column.right else [f"p{number}"] if column.prose else []
    head = (element("th", column.title, scope="col") for column in data.columns)
    rows = (
        element("tr", *(element("td", cell.text, class_=cell.style or None) for cell in map(_cell, row)))
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
