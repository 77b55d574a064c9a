"""What a distribution declares that it needs, and what that needs in turn, as installed in this environment."""

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def declared(lines: list[str]) -> set[str]:
    """Return the distributions that satisfy these requirements, the requirements of each among them included."""
    found: set[tuple[str, str]] = set()
    waiting = [*_wanted(lines, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found or name.startswith("esper-"):
            continue
        found.add((name, extra))
        waiting += _wanted(distribution(name).requires or [], extra)
    return {name for name, _ in found}


def entries(name: str) -> set[Path]:
    """Return the files and folders that a distribution has put into site-packages."""
    it = distribution(name)
    tops = {file.parts[0] for file in it.files or () if file.parts[0] not in ("..", "__pycache__")}
    return {Path(str(it.locate_file(top))) for top in tops}


def _wanted(lines: list[str], extra: str) -> Iterator[tuple[str, str]]:
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            name = canonicalize_name(requirement.name)
            yield name, ""
            yield from ((name, wanted) for wanted in requirement.extras)
