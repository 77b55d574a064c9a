"""How texts, tables and pages about a run are drawn with rich; imported only to draw, since rich is slow to load.

An output that cannot show a character gets a stand-in before anything is laid out, so that columns stay aligned.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from shutil import get_terminal_size
from typing import IO, TextIO, cast

from attrs import evolve
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from esper_core.leyline.printable import printable
from esper_runs.printing import LenientStream, to_ascii
from esper_runs.tables import Cell, Column, Table

#: Width of what is written to no terminal, unless COLUMNS says otherwise.
PLAIN_WIDTH = 120

#: Sentences in a column get at least this much, or the table is drawn in another form.
_PROSE_WIDTH = 24

#: Blanks between columns.
_GAP = 2

#: As rich's SIMPLE_HEAD: a line below the headers and nothing else.
_ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)

_STYLES: Mapping[str, str] = {
    "": "",
    "title": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "red",
    "warning": "yellow",
    "grown": "green",
    "twin": "blue",
}

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"

#: A number stays with its error and its per cent sign.
_WORD = re.compile(r"\S+(?: (?:±|\+/-) \S+| %\S*)*\s*")


class _Unheard(Console):
    """It says nothing more where nobody reads, and is no reason to end."""

    def on_broken_pipe(self) -> None:
        """Fall silent; what is left in the stream's buffer goes nowhere, instead of failing when the process ends."""
        self.quiet = True
        with suppress(OSError, ValueError):  # a stream without a file has nothing to be led elsewhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Terminal:
    """Draws for one kind of output.

    Args:
        stream: where the output goes.
        width: columns; None: those of the terminal or of COLUMNS, and 120 where neither says.
        read: the output is what is wanted, so that without a reader the process ends; otherwise it falls silent.

    Attributes:
        console: rich's, without markup: names and reasons are shown as they are.
        bounded: something says how wide the output is. Where nothing does, tables are as wide as they need to be.
    """

    def __init__(self, stream: TextIO, width: int | None = None, *, read: bool = True) -> None:
        terminal = stream.isatty()
        self.bounded = width is not None or terminal or "COLUMNS" in os.environ
        columns = get_terminal_size((PLAIN_WIDTH, 24)).columns if self.bounded else PLAIN_WIDTH
        # NO_COLOR (no-color.org) also turns bold and dim off here: a page without escapes can be pasted anywhere.
        plain = not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.console = (Console if read else _Unheard)(
            file=cast(IO[str], LenientStream(stream)),
            width=width or columns,
            color_system=None if plain else "auto",
            force_terminal=terminal,
            no_color=plain,  # rich 13 takes an empty NO_COLOR for a set one
            markup=False,
            emoji=False,
            highlight=False,
        )
        self.unicode = _can_encode(stream, _BLOCKS)

    @property
    def width(self) -> int:
        """Columns."""
        return self.console.width

    def print(self, *parts: RenderableType) -> None:
        """Print parts below each other; nothing is cut off at the right."""
        for part in parts:
            self.console.print(part, no_wrap=True, overflow="ignore", crop=False)

    def plain(self, text: str) -> str:
        """Return a text in characters that the output can show."""
        text = printable(text)
        return text if self.unicode else to_ascii(text)

    def text(self, text: str, style: str = "") -> Text:
        """Return a text in a style: one of this module's names, or one of rich's."""
        return Text(self.plain(text), style=_STYLES.get(style, style))

    def block(self, share: float) -> str:
        """Return a bar as high as a share from 0 to 1."""
        blocks = _BLOCKS if self.unicode else _ASCII_BLOCKS
        return blocks[min(len(blocks) - 1, max(0, int(share * len(blocks))))]

    def paragraph(self, text: str, style: str = "", *, lead: str = "", indent: int | None = None) -> RenderableType:
        """Return a text that is broken between words; paths and names stay whole, so that they can be copied.

        Args:
            text: the text.
            style: its style.
            lead: stands in front of the first line.
            indent: how far the other lines are indented; None: as far as the lead is wide.
        """
        lead = self.plain(lead)
        return _Paragraph(self.text(text, style), lead, len(lead) if indent is None else indent)

    def section(self, title: str, *parts: RenderableType) -> Group:
        """Return parts below a title."""
        return Group(self.paragraph(title, "title"), *parts)

    def table(self, table: Table) -> RenderableType:
        """Return a table; where even its most important columns do not fit, each row is a paragraph that names them."""
        table = self._showable(table)
        fitting = next((it for it in (table, *table.narrower()) if self._fits(it)), None)
        if fitting is None:
            return Group(*(self._record(table.columns, row) for row in table.rows))
        widths = fitting.column_widths(cell_len)
        whole = sum(widths) + _GAP * (len(widths) - 1)
        rule = ("─" if self.unicode else "-") * whole
        if _one_line_each(fitting) and (whole <= self.width or not self.bounded):
            return _Lines(fitting, widths, rule)
        drawn = RichTable(box=box.SIMPLE_HEAD if self.unicode else _ASCII_HEAD, show_edge=False, pad_edge=False)
        drawn.padding = (0, 1, 0, 0)
        for column in fitting.columns:
            drawn.add_column(Text(column.title), justify="right" if column.right else "left", no_wrap=not column.prose)
        for row in fitting.rows:
            drawn.add_row(*(self._cell(cell) for cell in row))
        return _Trimmed(drawn, min(whole, self.width) if self.bounded else whole)

    def _fits(self, table: Table) -> bool:
        widths = zip(table.column_widths(cell_len), table.columns, strict=True)
        least = sum(min(width, _PROSE_WIDTH) if column.prose else width for width, column in widths)
        return not self.bounded or least + _GAP * (len(table.columns) - 1) <= self.width

    def _record(self, columns: tuple[Column, ...], row: tuple[Cell | str, ...]) -> RenderableType:
        first, *rest = map(self._cell, row)
        parts = [
            Text.assemble(cell if column.prose else f"{column.title} ", "" if column.prose else cell)
            for column, cell in zip(columns[1:], rest, strict=True)
            if cell.plain
        ]
        return _Paragraph(Text(", ").join(parts), f"{first.plain}  ", 2)

    def _cell(self, cell: Cell | str) -> Text:
        return self.text(cell.text, cell.style) if isinstance(cell, Cell) else self.text(cell)

    def _showable(self, table: Table) -> Table:
        """Stand-ins may be wider than what they stand for."""
        rows = tuple(
            tuple(Cell(self.plain(c.text), c.style) if isinstance(c, Cell) else self.plain(c) for c in row)
            for row in table.rows
        )
        # Hosts may be titles too.
        columns = tuple(evolve(column, title=" ".join(self.plain(column.title).split())) for column in table.columns)
        return Table(columns=columns, rows=rows)


class _Paragraph:
    """Lines of words behind a lead. rich's own wrapping folds a long path in the middle, or cuts it off."""

    def __init__(self, text: Text, lead: str, indent: int) -> None:
        self._text, self._lead, self._indent = text, lead.ljust(indent), indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width, self._indent + 20)
        breaks, end = [], len(self._lead)
        for word in _WORD.finditer(self._text.plain):
            length = cell_len(word[0].rstrip())
            if end + length > width and word.start():
                breaks.append(word.start())
                end = self._indent
            end += cell_len(word[0])
        for number, line in enumerate(self._text.divide(breaks)):
            line.rstrip()
            yield Text(" " * self._indent if number else self._lead) + line


def _one_line_each(table: Table) -> bool:
    return not any(column.prose for column in table.columns) and not any(
        "\n" in text or "\t" in text for row in table.texts for text in row
    )


class _Lines:
    """Draws a table whose rows are lines. It looks as rich's, which takes milliseconds for each row."""

    def __init__(self, table: Table, widths: tuple[int, ...], rule: str) -> None:
        self._table, self._widths, self._rule = table, widths, rule

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        titles = tuple(Cell(column.title, "title") for column in self._table.columns)
        for number, row in enumerate((titles, *self._table.rows)):
            yield from self._line(console, [cell if isinstance(cell, Cell) else Cell(cell) for cell in row])
            yield Segment.line()
            if not number:
                yield Segment(self._rule)
                yield Segment.line()

    def _line(self, console: Console, cells: list[Cell]) -> RenderResult:
        blank = ""
        for cell, width, column in zip(cells, self._widths, self._table.columns, strict=True):
            room = " " * (width - cell_len(cell.text))
            if cell.text:
                style = _STYLES.get(cell.style, cell.style)
                before = blank + room if column.right else blank
                yield Segment(before)
                yield Segment(cell.text, console.get_style(style) if style else None)
                blank = ""
            blank += ("" if column.right and cell.text else room) + " " * _GAP


class _Trimmed:
    """Draws something in a width of its own, without blanks at the ends of lines."""

    def __init__(self, drawn: RenderableType, width: int) -> None:
        self._drawn, self._width = drawn, width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self._drawn, options.update(width=self._width), pad=False):
            kept = list(line)
            while kept and not kept[-1].text.strip():
                kept.pop()
            yield from kept[:-1]
            yield from (Segment(last.text.rstrip(), last.style) for last in kept[-1:])
            yield Segment.line()


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
