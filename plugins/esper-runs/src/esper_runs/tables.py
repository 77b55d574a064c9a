"""Tables as data, and how they are written as plain text and Markdown; `terminal` draws them on screens."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import compress

from attrs import field, frozen


@frozen
class Column:
    """A column of a table.

    Attributes:
        title: its header.
        right: its cells are aligned to the right.
        prose: its cells hold sentences, which may take several lines.
        spare: it is left out where a screen is too narrow, the rightmost spare column first.
    """

    title: str
    right: bool = field(default=False, kw_only=True)
    prose: bool = field(default=False, kw_only=True)
    spare: bool = field(default=False, kw_only=True)


@frozen
class Cell:
    """The text of a cell, and its style where colours can be shown: ``good``, ``bad``, ``warning``, ``dim`` or none."""

    text: str
    style: str = ""


@frozen(kw_only=True)
class Table:
    """A table.

    Attributes:
        columns: its columns, from the left.
        rows: its cells, row by row; a text is a cell without a style.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]

    def narrower(self) -> Iterator["Table"]:
        """Yield the table without its last spare column, without its last two, and so on until none is spare."""
        kept = [True] * len(self.columns)
        for index in reversed(range(len(self.columns))):
            if self.columns[index].spare:
                kept[index] = False
                rows = tuple(tuple(compress(row, kept)) for row in self.rows)
                yield Table(columns=tuple(compress(self.columns, kept)), rows=rows)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The texts of the cells, row by row."""
        return tuple(tuple(cell.text if isinstance(cell, Cell) else cell for cell in row) for row in self.rows)

    def column_widths(self, length: Callable[[str], int] = len) -> tuple[int, ...]:
        """How much room each column needs for its longest cell or its title, by the `length` of a text."""
        lines = [tuple(column.title for column in self.columns), *self.texts]
        return tuple(max(map(length, cells)) for cells in zip(*lines, strict=True))


def plain_text(table: Table) -> str:
    """Return a table with columns of equal width, two spaces apart."""
    widths = table.column_widths()

    def cell(text: str, index: int) -> str:
        return text.rjust(widths[index]) if table.columns[index].right else text.ljust(widths[index])

    lines = [tuple(column.title for column in table.columns), *table.texts]
    return "\n".join("  ".join(cell(text, index) for index, text in enumerate(line)).rstrip() for line in lines)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return headers and rows as plain text; the columns numbered in `right` are aligned to the right."""
    columns = tuple(Column(title, right=index in right) for index, title in enumerate(headers))
    return plain_text(Table(columns=columns, rows=tuple(tuple(row) for row in rows)))


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    return "\n".join(_markdown(table))


def _markdown(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(column.title for column in table.columns)} |"
    yield f"|{'|'.join('---:' if column.right else '---' for column in table.columns)}|"
    for row in table.texts:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(text: str) -> str:
    """A bar would end the cell, a line break the table."""
    return " ".join(text.split()).replace("|", "\\|")
