"""What is installed: one pass over `sys.path` that finds the distributions and their entry points in Esper's groups.

`importlib.metadata` would do, but costs as much CPU time as starting Python, and it fails as a whole where one file of
one distribution is not UTF-8; here that is a fact about this distribution. What shadows what is as there: of
distributions with one name, the first on the path counts.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple

from esper_core.leyline.errors import EsperError

if TYPE_CHECKING:
    from importlib.metadata import Distribution as ForeignDistribution

#: The entry-point groups: plugins, subcommands, and kinds of components.
PLUGINS, COMMANDS, KINDS = "esper", "esper.commands", "esper.kinds"

#: What the section of each of them begins with.
_MARK = b"[esper"

#: Reads one of a distribution's metadata files; None if there is no such file.
Reader = Callable[[str], bytes | None]

_SEPARATORS = re.compile(r"[-_.]+")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_EDITABLE = re.compile(rb'"editable"\s*:\s*true')


class Metadata(NamedTuple):
    """What Esper uses of a distribution's metadata.

    Attributes:
        name, version, summary: as they are written; empty if they are missing.
        requires: its requirements, those of its extras included.
    """

    name: str
    version: str
    summary: str
    requires: tuple[str, ...]


class Distribution:
    """An installed distribution. Its files are read when they are asked for.

    Args:
        name: as its folder of metadata has it.
        version: likewise; may be empty.
        read: reads its metadata files.
        folder: the folder of metadata; None if it is in no folder (a zip file).
        requires: its requirements where METADATA does not hold them.
    """

    def __init__(
        self,
        name: str,
        version: str,
        read: Reader,
        *,
        folder: str | None = None,
        requires: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self.read = read
        self._requires = requires

    @cached_property
    def metadata(self) -> Metadata:
        """The head of its metadata.

        Raises:
            EsperError: E107 if it cannot be read.
        """
        file = "METADATA"
        requires: tuple[str, ...] = ()
        if (content := self._read(file)) is None:
            file, requires = "PKG-INFO", tuple(self._requires())
            content = self._read(file)
        fields = _fields(self._decode(file, _END_OF_HEAD.split(content or b"", maxsplit=1)[0]))
        return Metadata(
            name=fields.get("name", [self.name])[0],
            version=fields.get("version", [self.version])[0],
            summary=fields.get("summary", [""])[0],
            requires=requires or tuple(fields.get("requires-dist", ())),
        )

    @cached_property
    def is_editable(self) -> bool:
        """It is installed in editable mode."""
        try:
            return _EDITABLE.search(self._read("direct_url.json") or b"") is not None
        except EsperError:
            return False

    def entry_points(self, group: str) -> "Iterator[EntryPoint]":
        """Yield its entry points of a group.

        Raises:
            EsperError: E107 if they cannot be read.
        """
        section = None
        for line in map(str.strip, self._decode("entry_points.txt", self.entry_points_file).splitlines()):
            if line.startswith("[") and line.endswith("]"):
                section = line.strip("[]")
            elif section == group and line and not line.startswith("#"):
                name, equals, value = (part.strip() for part in line.partition("="))
                if not equals:
                    raise self._damage("entry_points.txt", f'"{line}" is no entry point')
                yield EntryPoint(name, value, self)

    @cached_property
    def entry_points_file(self) -> bytes:
        """What its entry points' file holds; empty if there is none.

        Raises:
            EsperError: E107 if it cannot be read.
        """
        return self._read("entry_points.txt") or b""

    @property
    def may_offer(self) -> bool:
        """It has entry points in Esper's groups, or its entry points cannot be read."""
        try:
            self._decode("entry_points.txt", self.entry_points_file)
        except EsperError:
            return True
        return _MARK in self.entry_points_file

    def _read(self, file: str) -> bytes | None:
        try:
            return self.read(file)
        except UnicodeDecodeError:
            raise self._damage(file, "it is not UTF-8") from None
        except OSError as error:
            raise self._damage(file, str(error)) from error

    def _decode(self, file: str, content: bytes) -> str:
        try:
            return content.decode("utf-8-sig")  # some editors write a byte-order mark
        except UnicodeDecodeError:
            raise self._damage(file, "it is not UTF-8") from None

    def _damage(self, file: str, why: str) -> EsperError:
        return EsperError(
            "E107",
            f'the metadata of the distribution "{self.name}" cannot be read',
            where=os.path.join(self.folder, file) if self.folder else file,
            why=why,
            fix=f"reinstall it: pip install --force-reinstall {self.name}, or run without it: --no-plugin {self.name}",
        )


class EntryPoint(NamedTuple):
    """One entry point.

    Attributes:
        name: left of the equals sign.
        value: right of it.
        distribution: what ships it.
    """

    name: str
    value: str
    distribution: Distribution


class Installed:
    """The installed distributions; of one name, the first on the path.

    Args:
        distributions: in the order of the path.
    """

    def __init__(self, distributions: Iterable[Distribution]) -> None:
        self._by_name: dict[str, Distribution] = {}
        for distribution in distributions:
            self._by_name.setdefault(canonical(distribution.name), distribution)

    @cached_property
    def offering(self) -> tuple[Distribution, ...]:
        """Those that may have entry points in Esper's groups."""
        return tuple(distribution for distribution in self._by_name.values() if distribution.may_offer)

    def find(self, name: str) -> Distribution | None:
        """Return a distribution by its name, however that is written."""
        return self._by_name.get(canonical(name))


def canonical(name: str) -> str:
    """Return a distribution's name as package indexes compare it: lower case, every separator a hyphen."""
    return _SEPARATORS.sub("-", name).lower()


def scan(path: Sequence[str] | None = None) -> Installed:
    """Look at what is installed now.

    Args:
        path: folders to look into; default: everywhere, as imports do.
    """
    if path is not None:
        return Installed(distribution for entry in path for distribution in _on_path(entry))
    return Installed(distribution for finder in sys.meta_path for distribution in _of(finder))


def _of(finder: object) -> Iterator[Distribution]:
    if finder is PathFinder:
        for entry in sys.path:
            yield from _on_path(entry)
    elif find := getattr(finder, "find_distributions", None):
        # Imported here: there is hardly ever another finder of distributions.
        from importlib.metadata import DistributionFinder

        yield from map(_foreign, find(DistributionFinder.Context()))


def _on_path(entry: str) -> Iterator[Distribution]:
    """Only folders are looked into here; zip files and eggs are left to the library."""
    try:
        names = os.listdir(entry or ".")
    except NotADirectoryError:
        yield from _by_library(entry)
        return
    except OSError:  # there is no such folder, as is usual for some entries
        return
    if entry.lower().endswith(".egg"):
        yield from _by_library(entry)
        return
    for name in names:
        stem, _, suffix = name.rpartition(".")
        if stem and suffix.lower() in ("dist-info", "egg-info"):
            yield _in_folder(os.path.join(entry, name), stem)


def _in_folder(folder: str, stem: str) -> Distribution:
    def read(file: str) -> bytes | None:
        try:
            with open(os.path.join(folder, file), "rb", buffering=0) as opened:
                return opened.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def requires() -> Iterable[str]:
        from importlib.metadata import Distribution as Library

        return Library.at(folder).requires or ()

    name, *version = stem.split("-")
    return Distribution(name.replace("_", "-"), "".join(version[:1]), read, folder=folder, requires=requires)


def _by_library(entry: str) -> Iterator[Distribution]:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    yield from map(_foreign, MetadataPathFinder.find_distributions(DistributionFinder.Context(path=[entry])))


def _foreign(found: "ForeignDistribution") -> Distribution:
    def read(file: str) -> bytes | None:
        text = found.read_text(file)
        return None if text is None else text.encode()

    try:
        name, version = found.metadata["Name"] or "(unnamed)", found.version
    except UnicodeDecodeError:
        name, version = str(getattr(found, "_path", found)), ""
    return Distribution(name, version, read, requires=lambda: found.requires or ())


def _fields(head: str) -> dict[str, list[str]]:
    """The fields of a head by their names in lower case; a line that is indented goes on with the one before."""
    fields: dict[str, list[str]] = {}
    values: list[str] = []
    for line in head.splitlines():
        if line[:1].isspace() and values:
            values[-1] += f" {line.strip()}"
            continue
        key, _, value = line.partition(":")
        values = fields.setdefault(key.strip().lower(), [])
        values.append(value.strip())
    return fields
