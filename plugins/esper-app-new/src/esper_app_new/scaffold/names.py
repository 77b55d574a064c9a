"""The names of a new plugin: what its author calls it, and everything that follows from that."""

import re

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import Kind
from esper_core.plugins.known import FAMILY_BY_KIND

#: What authors call the kinds.
WORDS = {
    "blueprint": Kind.BLUEPRINT,
    "host": Kind.HOST,
    "gate": Kind.GATE,
    "reward": Kind.REWARD_TERM,
    "policy": Kind.POLICY,
    "sink": Kind.SINK,
    "task": Kind.TASK,
}

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: Longer ones make lines of generated code, and of tables, too long.
_LONGEST = 32


@frozen(kw_only=True)
class Names:
    """What a new plugin and its parts are called.

    Attributes:
        word: its kind, as authors call it.
        name: of its component (gate set, for gates): what runs write.
    """

    word: str
    name: str

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return WORDS[self.word]

    @property
    def plugin(self) -> str:
        """Of the entry point."""
        return f"{FAMILY_BY_KIND[self.kind]}-{self.name}"

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


def names(word: str, name: str) -> Names:
    """Return the names of a new plugin of a kind, given what its author calls it.

    Raises:
        EsperError: E180 if it is no name for a component, repeats the family, or is too long.
    """
    why = _objection(word, name)
    if why is None:
        return Names(word=word, name=name)
    better = _suggestion(word, name)
    fix = f"call it {better}: esper plugins new {word} {better}" if better else f"esper plugins new {word} my-idea"
    raise EsperError("E180", f'a {word} cannot be called "{name}"', why=why, fix=fix)


def _objection(word: str, name: str) -> str | None:
    family = FAMILY_BY_KIND[WORDS[word]]
    if not _NAME.fullmatch(name):
        return "a name is lower-case words of ASCII letters and digits, joined by '-', and begins with a letter"
    if name.startswith(("esper-", f"{family}-", f"{word}-")) or name in {"esper", family, word}:
        return f"the distribution is called esper-{family}-NAME already; give NAME alone"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters, over {_LONGEST}; people will have to write it"
    return None


def _suggestion(word: str, name: str) -> str | None:
    """Return the nearest name to which there is no objection."""
    words = [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)]
    while words and (words[0] in {"esper", word, FAMILY_BY_KIND[WORDS[word]]} or words[0][0].isdigit()):
        del words[0]
    better = "-".join(words)[:_LONGEST].strip("-")
    return better if better and _objection(word, better) is None else None
