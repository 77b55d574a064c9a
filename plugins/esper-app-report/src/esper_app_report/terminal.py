"""How text is drawn: with colours where there is a terminal that wants them, with blocks where they can be encoded."""

import os
import textwrap
from collections.abc import Mapping
from shutil import get_terminal_size
from typing import TextIO

import click
from attrs import frozen

#: Width of what is written to no terminal, unless COLUMNS says otherwise.
PLAIN_WIDTH = 100

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-=+*%#"
#: What a terminal that knows ASCII alone gets instead.
_ASCII = str.maketrans({"·": ".", "→": "->", "±": "+/-", "–": "-", "…": "..."})

_STYLES: Mapping[str, Mapping[str, object]] = {
    "title": {"bold": True},
    "dim": {"dim": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warning": {"fg": "yellow"},
    "grown": {"fg": "green"},
    "twin": {"fg": "blue"},
}


@frozen(kw_only=True)
class Terminal:
    """Writes for one kind of output.

    Attributes:
        colour: use ANSI colours.
        unicode: use characters beyond ASCII.
        width: columns.
    """

    colour: bool = False
    unicode: bool = True
    width: int = PLAIN_WIDTH

    def paint(self, text: str, style: str) -> str:
        """Return the text in a style; an unknown style is a colour's name. Styled text is as wide as it was."""
        if not (self.colour and text and style):
            return text
        return click.style(text, **_STYLES.get(style, {"fg": style}))  # type: ignore[arg-type]

    def block(self, share: float) -> str:
        """Return a bar as high as a share from 0 to 1."""
        blocks = _BLOCKS if self.unicode else _ASCII_BLOCKS
        return blocks[min(len(blocks) - 1, max(0, int(share * len(blocks))))]

    def wrap(self, text: str, indent: int = 0, hanging: int = 0) -> str:
        """Break text into lines between words: the first begins at `indent`, the others `hanging` further right."""
        first, others = " " * indent, " " * (indent + hanging)
        width = max(self.width, indent + hanging + 20)
        # Paths and names stay whole, so that they can be copied.
        wrapper = textwrap.TextWrapper(
            width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
        )
        return wrapper.fill(text)

    def finish(self, text: str) -> str:
        """Return the text as the output can take it."""
        return text if self.unicode else text.translate(_ASCII).encode("ascii", "replace").decode()


def terminal_for(stream: TextIO, width: int | None = None) -> Terminal:
    """Return the terminal for a stream: colours for a terminal unless ``NO_COLOR`` is set (no-color.org)."""
    terminal = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    columns = get_terminal_size((PLAIN_WIDTH, 24)).columns if terminal or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Terminal(colour=terminal and not plain, unicode=_takes_blocks(stream), width=width or columns)


def _takes_blocks(stream: TextIO) -> bool:
    try:
        _BLOCKS.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
