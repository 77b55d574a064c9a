"""The commands that installed distributions offer through the entry points `esper.commands`. Imports none of them."""

import os
from collections.abc import Mapping, Sequence

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import COMMANDS, EntryPoint, canonical, scan

#: A command's place: `("plugins", "new")` for ``esper plugins new``, whose entry point is called ``plugins.new``.
Path = tuple[str, ...]


class Offers:
    """What is offered.

    Args:
        commands: entry points by the command's place; two where two distributions offer the same one.
        unreadable: why the entry points of some distributions are not known.
    """

    def __init__(self, commands: Mapping[Path, Sequence[EntryPoint]], unreadable: Sequence[EsperError]) -> None:
        self.commands = commands
        self.unreadable = unreadable

    def inside(self, path: Path) -> dict[str, Path]:
        """Return the commands of a group, by name. At the root, what joins no group stands by its whole name."""
        found = {place[-1]: place for place in self.commands if place[:-1] == path}
        if not path:
            found |= {".".join(place): place for place in self.commands if not self.has_group(place)}
        return found

    def has_group(self, path: Path) -> bool:
        """Say whether the group that a command joins is offered, too."""
        return len(path) == 1 or path[:-1] in self.commands


def read_offers(environ: Mapping[str, str] = os.environ) -> Offers:
    """Look for commands, but for those of distributions that ``ESPER_NO_PLUGINS`` names."""
    blocked = {canonical(name.strip()) for name in environ.get("ESPER_NO_PLUGINS", "").split(",")}
    commands: dict[Path, list[EntryPoint]] = {}
    unreadable: list[EsperError] = []
    for distribution in sorted(scan().offering, key=lambda it: it.name):
        if canonical(distribution.name) in blocked:
            continue
        try:
            for entry_point in distribution.entry_points(COMMANDS):
                commands.setdefault(tuple(entry_point.name.split(".")), []).append(entry_point)
        except EsperError as error:
            unreadable.append(error)
    return Offers(commands, unreadable)
