"""What commands print: the one way by which text of any origin reaches a terminal."""

import re
import sys
from typing import Any, TextIO

from esper_core.leyline.printable import UNPRINTABLE
from esper_core.leyline.printable import printable as printable

_ASCII = str.maketrans({"·": ".", "→": "->", "±": "+/-", "–": "-", "…": "...", "×": "x"})


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text; what a terminal would obey becomes U+FFFD.

    Args:
        text: the text.
        err: print to stderr.
        nl: end the line.
    """
    stream = LenientStream(sys.stderr if err else sys.stdout)
    stream.write(printable(str(text)) + ("\n" if nl else ""))
    stream.flush()


def echo_json(value: Any) -> None:
    """Print records as JSON with the same content, in which what a terminal would obey is an escape."""
    # Imported here: most commands print no records.
    from esper_core.leyline.records import to_json

    echo(json_printable(to_json(value, indent=2)))


def json_printable(text: str) -> str:
    """Return JSON, or basic strings of TOML, with an escape for everything that a terminal would obey."""
    return UNPRINTABLE.sub(_escape, text)


def to_ascii(text: str) -> str:
    """Return a text in ASCII: signs that Esper uses as others that say the same, the rest as question marks."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


class LenientStream:
    """A text stream that writes a question mark where its encoding lacks a character, instead of raising.

    Args:
        stream: where the text goes. Everything but writing is left to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write text."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            text = text.translate(_ASCII).encode(self.encoding, "replace").decode(self.encoding)
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Say whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self._stream.fileno()


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code > 0xFFFF:
        return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
