"""Text from files, plugins and networks of other people, made fit for a terminal."""

import re

#: What commands a terminal or turns the order of letters round: control characters but tab and newline, marks and
#: overrides of direction, separators of lines, invisible tags, and halves of characters, which no encoding has.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Return a text with U+FFFD in place of everything that a terminal would obey or cannot show."""
    return UNPRINTABLE.sub("\ufffd", text)
