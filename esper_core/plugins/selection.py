"""Which plugins may be used, decided by name alone, before any is imported."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.discovery import Candidate
from esper_core.plugins.known import install_line_for_plugin, suggest
from esper_core.plugins.records import Origin, Status

if TYPE_CHECKING:
    # It is a tenth of what listing plugins imports, and needed only where a file is named.
    from pathlib import Path

AUTO, ALL, NONE = "auto", "all", "none"

#: Words that stand for more than one plugin: `auto` loads every plugin, but observers run only for those that are
#: used or named; `all` lets every observer run; `none` loads nothing.
WORDS = frozenset({AUTO, ALL, NONE})


class Block(NamedTuple):
    """A plugin that is switched off by name.

    Attributes:
        name: entry point, distribution, or ``distribution:plugin``.
        unless: names in a stronger source; a plugin that answers to one of them is not blocked.
        may_be_absent: an unknown name is not an error (the environment holds for many installations).
    """

    name: str
    unless: tuple[str, ...] = ()
    may_be_absent: bool = False

    def covers(self, candidate: Candidate) -> bool:
        """Say whether this plugin is switched off."""
        return candidate.answers_to(self.name) and not any(candidate.answers_to(name) for name in self.unless)


@frozen(kw_only=True)
class Selection:
    """The plugins that may be used. The default is `auto`.

    Attributes:
        wanted: names and words in call order.
        blocked: what is never imported.
        paths: one-file plugins.
        requires: distributions with versions that must be there.
        strict: any plugin that cannot be had is an error.
        lock: the file that says which plugins a run is bound to; the command that runs puts them into `wanted`.
        observing: names of the plugins that observe even where they are not used; None: those in `wanted`.
    """

    wanted: tuple[str, ...] = (AUTO,)
    blocked: tuple[Block, ...] = ()
    paths: "tuple[Path, ...]" = ()
    requires: tuple[str, ...] = ()
    strict: bool = False
    lock: "Path | None" = None
    observing: frozenset[str] | None = None

    @property
    def observers_of_all(self) -> bool:
        """Every plugin may observe, not only those that are used or named."""
        return ALL in self.wanted


class Choice(NamedTuple):
    """What the selection says of one candidate.

    Attributes:
        candidate: the plugin.
        status: None if it is to be loaded.
        named: it was asked for by name, so a failure is an error.
        problem: why it cannot be loaded.
    """

    candidate: Candidate
    status: Status | None = None
    named: bool = False
    problem: EsperError | None = None


def choose(candidates: Sequence[Candidate], selection: Selection) -> tuple[Choice, ...]:
    """Decide about every candidate by name alone. The result is in call order, those not to be loaded last.

    Raises:
        EsperError: E150 for a name that no candidate answers to.
    """
    needed = [name for name in selection.wanted if name not in WORDS]
    for name in (*needed, *(block.name for block in selection.blocked if not block.may_be_absent)):
        if not any(candidate.answers_to(name) for candidate in candidates):
            raise unknown_plugin(name, [candidate.origin for candidate in candidates], WORDS if name in needed else ())
    blocked = [c for c in candidates if any(block.covers(c) for block in selection.blocked)]
    free = [c for c in candidates if c not in blocked]
    ordered = [*_kinds(free, selection), *_in_call_order([c for c in free if not c.is_kind], selection)]
    chosen = [
        Choice(candidate=c, named=c.by_path or any(c.answers_to(name) for name in selection.wanted)) for c in ordered
    ]
    left_out = [Choice(candidate=c, status=Status.NOT_SELECTED) for c in free if c not in ordered]
    refused = [Choice(candidate=c, status=Status.BLOCKED) for c in blocked]
    return (*_mark_duplicates(chosen, selection), *left_out, *refused)


def unknown_plugin(name: str, origins: Iterable[Origin], words: Iterable[str] = ()) -> EsperError:
    """Say that no plugin answers to a name (E150), with the nearest one or the line that installs it.

    Who writes a component's name, such as `cnn`, means the plugin called after it, `host-cnn`. Where `words` stand for
    several plugins, one of them may be what is meant.
    """
    from difflib import get_close_matches

    origins = tuple(origins)
    known = {*words, *(name for origin in origins for name in (origin.plugin, origin.distribution) if name)}
    install = install_line_for_plugin(name)
    why = "it is not installed" if install else None
    if meant := sorted({f'"{origin.plugin}"' for origin in origins if origin.plugin.endswith(f"-{name}")}):
        fix = f"did you mean {' or '.join(meant)}?"
    elif install or get_close_matches(name, known, n=1, cutoff=0.6) or not known:
        fix = suggest(name, known, install)
    else:
        fix = f"take one of the names that `esper plugins list` shows{''.join(f', or {it}' for it in sorted(words))}"
    return EsperError("E150", f'plugin "{name}" is not known', why=why, fix=fix)


def _kinds(candidates: Sequence[Candidate], selection: Selection) -> list[Candidate]:
    """A kind is needed by whatever offers components of it, so it goes with any plugins but those of a lock."""
    kinds = [c for c in candidates if c.is_kind]
    if selection.lock is None and NONE not in selection.wanted:
        return kinds
    return [c for c in kinds if any(c.answers_to(name) for name in selection.wanted)]


def _in_call_order(candidates: Sequence[Candidate], selection: Selection) -> list[Candidate]:
    """Named plugins stand where they are named; `auto` and `all` stand for the rest, in sorted order."""
    by_path = [c for c in candidates if c.by_path]
    found = [c for c in candidates if not c.by_path]
    named = {c.id for c in found if any(c.answers_to(name) for name in selection.wanted)}
    ordered: dict[str, Candidate] = {}
    for name in selection.wanted:
        group = [c for c in found if c.id not in named] if name in (AUTO, ALL) else found
        ordered |= {c.id: c for c in group if name in (AUTO, ALL) or c.answers_to(name)}
    return [*ordered.values(), *by_path]


def _mark_duplicates(choices: Sequence[Choice], selection: Selection) -> list[Choice]:
    """Of several plugins with one name, load the one that the user singled out, else none."""
    by_name: dict[str, list[Choice]] = {}
    for choice in choices:
        by_name.setdefault(choice.candidate.origin.plugin, []).append(choice)
    return [_unless_duplicate(choice, by_name[choice.candidate.origin.plugin], selection) for choice in choices]


def _unless_duplicate(choice: Choice, rivals: Sequence[Choice], selection: Selection) -> Choice:
    if len(rivals) == 1:
        return choice
    singled_out = [rival for rival in rivals if _is_singled_out(rival.candidate, selection)]
    if singled_out == [choice]:
        return choice
    named = choice.named if not singled_out else choice in singled_out
    return Choice(
        candidate=choice.candidate, status=Status.DUPLICATE, named=named, problem=_duplicate_error(choice, rivals)
    )


def _is_singled_out(candidate: Candidate, selection: Selection) -> bool:
    by_name = [name for name in selection.wanted if name != candidate.origin.plugin and candidate.answers_to(name)]
    return candidate.by_path or bool(by_name)


def _duplicate_error(choice: Choice, rivals: Sequence[Choice]) -> EsperError:
    origins = [rival.candidate.origin for rival in rivals]
    titles = " and ".join(f"{o.distribution} {o.version}" if o.distribution else str(o.file) for o in origins)
    what = f'plugin name "{choice.candidate.origin.plugin}" is provided twice: by {titles}'
    choosable = [rival.candidate.id for rival in rivals if not rival.candidate.by_path]
    fix = f"uninstall one, or choose one: --plugins auto,{choosable[0]}" if choosable else "rename one of the files"
    return EsperError("E110", what, fix=fix)
