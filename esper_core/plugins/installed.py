"""What is installed: one pass over `sys.path` that finds the distributions and their entry points in Esper's groups.

`importlib.metadata` would do, but costs as much CPU time as starting Python, and it fails as a whole where one file of
one distribution is not UTF-8; here that is a fact about this distribution. What shadows what is as there: of
distributions with one name, the first on the path counts.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple

from esper_core.leyline.errors import EsperError

if TYPE_CHECKING:
    from importlib.metadata import Distribution as Library

#: The entry-point groups: plugins, subcommands, and kinds of components.
PLUGINS, COMMANDS, KINDS = "esper", "esper.commands", "esper.kinds"

#: What the section of each of them begins with.
_MARK = "[esper"

#: Some editors write one.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
        folder: the folder of metadata; None if it is in no folder (a zip file).
    """

    def __init__(self, name: str, version: str, folder: str | None = None) -> None:
        self.name = name
        self.version = version
        self.folder = folder

    def read(self, file: str) -> bytes | None:
        """Return the content of one of its metadata files, None if there is no such file. Raises OSError."""
        if self.folder is None:
            return None
        try:
            with open(f"{self.folder}/{file}", "rb", buffering=0) as opened:
                return opened.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def own_requirements(self) -> Iterable[str]:
        """Return its requirements where METADATA does not hold them: an egg-info folder has a file of its own."""
        from importlib.metadata import Distribution as Library

        return Library.at(self.folder).requires or () if self.folder else ()

    @cached_property
    def metadata(self) -> Metadata:
        """The head of its metadata.

        Raises:
            EsperError: E107 if it cannot be read.
        """
        requires: tuple[str, ...] = ()
        if (head := self._text("METADATA", head=True)) is None:
            head, requires = self._text("PKG-INFO", head=True) or "", tuple(self.own_requirements())
        fields = _fields(head)
        return Metadata(
            name=fields.get("name", [self.name])[0],
            version=fields.get("version", [self.version])[0],
            summary=fields.get("summary", [""])[0],
            requires=requires or tuple(fields.get("requires-dist", ())),
        )

    @property
    def is_editable(self) -> bool:
        """It is installed in editable mode."""
        try:
            return re.search(rb'"editable"\s*:\s*true', self.read("direct_url.json") or b"") is not None
        except (OSError, UnicodeDecodeError):
            return False

    @property
    def may_offer(self) -> bool:
        """It has entry points in Esper's groups, or its entry points cannot be read."""
        try:
            return _MARK in self._entry_points
        except EsperError:
            return True

    def entry_points(self, group: str) -> "Iterator[EntryPoint]":
        """Yield its entry points of a group.

        Raises:
            EsperError: E107 if they cannot be read.
        """
        section = None
        for line in map(str.strip, self._entry_points.splitlines()):
            if line.startswith("[") and line.endswith("]"):
                section = line.strip("[]")
            elif section == group and line and not line.startswith("#"):
                name, equals, value = (part.strip() for part in line.partition("="))
                if not equals:
                    raise self._damage("entry_points.txt", f'"{line}" is not an entry point')
                yield EntryPoint(name, value, self)

    @cached_property
    def _entry_points(self) -> str:
        return self._text("entry_points.txt") or ""

    def _text(self, file: str, *, head: bool = False) -> str | None:
        try:
            content = self.read(file)
            if content is not None and head:
                content = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
            return None if content is None else content.removeprefix(_BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError as error:
            raise self._damage(file, "it is not UTF-8") from error
        except OSError as error:
            raise self._damage(file, str(error)) from error

    def _damage(self, file: str, why: str) -> EsperError:
        return EsperError(
            "E107",
            f'the metadata of the distribution "{self.name}" cannot be read',
            where=f"{self.folder}/{file}" if self.folder else file,
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


class Foreign(Distribution):
    """A distribution that only `importlib.metadata` can read."""

    def __init__(self, found: "Library") -> None:
        try:
            name, version = found.metadata["Name"] or "(unnamed)", found.version
        except (UnicodeDecodeError, FileNotFoundError, KeyError):
            name, version = str(getattr(found, "_path", found)), ""
        super().__init__(name, version)
        self._found = found

    def read(self, file: str) -> bytes | None:
        """Return the content of one of its metadata files. Raises UnicodeDecodeError, too."""
        text = self._found.read_text(file)
        return None if text is None else text.encode()

    def own_requirements(self) -> Iterable[str]:
        """Return its requirements."""
        return self._found.requires or ()


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
    """Return a distribution's name as package indexes compare it: lower case, any separators one hyphen."""
    if "--" in (plain := name.lower().replace("_", "-").replace(".", "-")):
        plain = "-".join(filter(None, plain.split("-")))
    return plain


#: It puts a finder of its own beside Python's as soon as anybody imports it, and finds the same again.
_BACKPORT = "importlib_metadata"


def scan(path: Sequence[str] | None = None) -> Installed:
    """Look at what is installed now.

    Args:
        path: folders to look into; default: everywhere, as imports do.
    """
    found: list[Distribution] = []
    if path is not None:
        for entry in path:
            found += _on_path(entry)
        return Installed(found)
    for finder in sys.meta_path:
        if finder is PathFinder:
            for entry in sys.path:
                if isinstance(entry, str):  # what is not text is not imported from either
                    found += _on_path(entry)
        elif type(finder).__module__ == _BACKPORT:
            continue
        elif find := getattr(finder, "find_distributions", None):
            # Imported here: there is hardly ever another finder of distributions.
            from importlib.metadata import DistributionFinder

            found += map(Foreign, find(DistributionFinder.Context()))
    return Installed(found)


def _on_path(entry: str) -> Iterable[Distribution]:
    """Only folders are looked into here; zip files and eggs are left to the library."""
    try:
        names = os.listdir(entry or ".")
    except NotADirectoryError:
        return _by_library(entry)
    except OSError:  # there is no such folder, as is usual for some entries
        return ()
    if entry.lower().endswith(".egg"):
        return _by_library(entry)
    return [_in_folder(entry, name) for name in names if name.lower().endswith((".dist-info", ".egg-info"))]


def _in_folder(entry: str, folder: str) -> Distribution:
    name, *version = folder.rpartition(".")[0].split("-")
    return Distribution(name.replace("_", "-"), version[0] if version else "", os.path.join(entry, folder))


def _by_library(entry: str) -> Iterable[Distribution]:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    return map(Foreign, MetadataPathFinder.find_distributions(DistributionFinder.Context(path=[entry])))


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
