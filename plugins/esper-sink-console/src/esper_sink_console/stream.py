"""Standard output, whatever its encoding."""

from typing import TextIO

#: Stand-ins where the encoding has no such character.
_STAND_INS = str.maketrans({"→": "->", "±": "+-"})


class LenientStream:
    """A text stream that writes a stand-in where its encoding lacks a character, instead of raising.

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
            text = text.translate(_STAND_INS).encode(self.encoding, "replace").decode(self.encoding)
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
