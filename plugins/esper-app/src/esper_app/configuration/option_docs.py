"""What each option of a configuration class means, from the class's docstring: written once, shown everywhere."""

import inspect
import re
from collections.abc import Iterator

_SECTION = re.compile(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the description of each attribute, by name, from the ``Attributes:`` of a class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs |= dict(_entries(base.__doc__ or ""))
    return docs


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    if section := _SECTION.search(inspect.cleandoc(docstring)):
        for names, text in _ENTRY.findall(section[1]):
            for name in names.split(", "):
                yield name, " ".join(text.split()).replace("``", "")
