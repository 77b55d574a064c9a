"""The names of a new plugin: the one that its author gives, and everything that follows from it."""

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from esper_app.api import KINDS
from esper_core.api import EsperError
from esper_core.specs import PluginKind

TEMPLATES = Path(__file__).with_name("templates")

#: The kinds that have templates, by name.
KINDS_TO_WRITE: Mapping[str, PluginKind] = {it.name: it for it in KINDS if (TEMPLATES / it.name).is_dir()}

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: Longer names make lines of generated code, and of tables, too long.
_LONGEST = 32


@frozen(kw_only=True)
class Names:
    """The names of a new plugin and its parts.

    Attributes:
        kind: its kind.
        name: name of its component (for gates, of the gate set), as runs write it.
    """

    kind: PluginKind
    name: str

    @property
    def plugin(self) -> str:
        """The name of the entry point."""
        return f"{self.kind.family}-{self.name}"

    @property
    def distribution(self) -> str:
        """The name of the distribution and of its folder."""
        return f"esper-{self.plugin}"

    @property
    def package(self) -> str:
        """The name of the Python package."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """The prefix of its class names; each has a suffix too, so none is a keyword or hides an import."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def names(kind: PluginKind, name: str) -> Names:
    """Return the names of a new plugin of a kind, from the name that its author gives.

    Raises:
        EsperError: E180 if the name is not valid for a component, repeats the family, or is too long.
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
        return "a name consists of lower-case ASCII letters and digits in words joined by '-', and begins with a letter"
    if name.startswith(("esper-", f"{kind.family}-", f"{kind.name}-")) or name in {"esper", kind.family, kind.name}:
        return f"the distribution is called esper-{kind.family}-NAME anyway; give only NAME"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters; at most {_LONGEST} are allowed"
    return None


def _suggestion(kind: PluginKind, name: str) -> str | None:
    """Return the nearest valid name."""
    words = [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)]
    repeated = {"esper", kind.family, *kind.name.split("-")}
    while words and (words[0] in repeated or words[0][0].isdigit()):
        del words[0]
    better = "-".join(words)[:_LONGEST].strip("-")
    return better if better and _objection(kind, better) is None else None
