"""The names of a new plugin: what its author calls it, and everything that follows from that."""

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from esper_app.api import KINDS
from esper_core.api import EsperError
from esper_core.specs import PluginKind

TEMPLATES = Path(__file__).with_name("templates")

#: The kinds that there are templates for, by name.
KINDS_TO_WRITE: Mapping[str, PluginKind] = {it.name: it for it in KINDS if (TEMPLATES / it.name).is_dir()}

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: Longer ones make lines of generated code, and of tables, too long.
_LONGEST = 32


@frozen(kw_only=True)
class Names:
    """What a new plugin and its parts are called.

    Attributes:
        kind: its kind.
        name: of its component (gate set, for gates): what runs write.
    """

    kind: PluginKind
    name: str

    @property
    def plugin(self) -> str:
        """Of the entry point."""
        return f"{self.kind.family}-{self.name}"

    @property
    def distribution(self) -> str:
        """Of the distribution and of its folder."""
        return f"esper-{self.plugin}"

    @property
    def package(self) -> str:
        """Of the Python package."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """What the names of its classes begin with; each goes on, so that none is a keyword or hides an import."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def names(kind: PluginKind, name: str) -> Names:
    """Return the names of a new plugin of a kind, given what its author calls it.

    Raises:
        EsperError: E180 if it is no name for a component, repeats the family, or is too long.
    """
    why = _objection(kind, name)
    if why is None:
        return Names(kind=kind, name=name)
    better = _suggestion(kind, name)
    command = f"esper plugins new {kind.name}"
    fix = f"call it {better}: {command} {better}" if better else f"{command} my-idea"
    raise EsperError("E180", f'a {kind.name} cannot be called "{name}"', why=why, fix=fix)


def _objection(kind: PluginKind, name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return "a name is lower-case words of ASCII letters and digits, joined by '-', and begins with a letter"
    if name.startswith(("esper-", f"{kind.family}-", f"{kind.name}-")) or name in {"esper", kind.family, kind.name}:
        return f"the distribution is called esper-{kind.family}-NAME already; give NAME alone"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters, over {_LONGEST}; people will have to write it"
    return None


def _suggestion(kind: PluginKind, name: str) -> str | None:
    """Return the nearest name to which there is no objection."""
    words = [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)]
    repeated = {"esper", kind.family, *kind.name.split("-")}
    while words and (words[0] in repeated or words[0][0].isdigit()):
        del words[0]
    better = "-".join(words)[:_LONGEST].strip("-")
    return better if better and _objection(kind, better) is None else None
