"""In what two locks differ, and whether what is installed keeps to one."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from attrs import evolve, frozen

from esper_app.locks.lock import LockedPlugin, PluginLock, current_core, digest_of
from esper_core.plugins.discovery import Candidate, from_file, installed_plugins
from esper_core.plugins.installed import Installed, scan
from esper_core.plugins.selection import NONE, Selection


class Differs(StrEnum):
    """In what a plugin differs.

    Attributes:
        MISSING: the second lock has no such plugin.
        EXTRA: the first one has no such plugin.
        VERSION: they have different versions of it.
        DIGEST: they have different code under the same version.
        ORDER: it is the first one that stands at another place in the call order.
    """

    MISSING = "missing"
    EXTRA = "extra"
    VERSION = "version"
    DIGEST = "digest"
    ORDER = "order"


@frozen(kw_only=True)
class Difference:
    """One difference between two locks.

    Attributes:
        differs: in what.
        plugin: the plugin's name.
        distribution: what ships it; None for a one-file plugin.
        first: what the first lock has: version, digest, or place in the call order; None if it has no such plugin.
        second: the same of the second one.
    """

    differs: Differs
    plugin: str
    distribution: str | None
    first: str | None
    second: str | None


def differences(first: PluginLock, second: PluginLock) -> tuple[Difference, ...]:
    """Return every difference between two locks, those of the core first, that of the order last."""
    ours = {it.id: it for it in (first.core, *first.plugins)}
    theirs = {it.id: it for it in (second.core, *second.plugins)}
    return (
        *(found for id_, it in ours.items() if (found := _difference(it, theirs.get(id_)))),
        *(_told(Differs.EXTRA, it, None, it.version or it.digest) for id_, it in theirs.items() if id_ not in ours),
        *_order(
            [it for it in first.plugins if it.id in theirs],
            [it.id for it in second.plugins if it.id in ours],
        ),
    )


def keep_to(lock: PluginLock, selection: Selection) -> tuple[Selection, tuple[Difference, ...]]:
    """Return the selection of exactly the plugins of a lock, and in what they differ from those that are installed.

    Nothing is imported, and no file is read because a lock names it: a lock may come from somebody else. Its one-file
    plugins are looked for among the files that the selection names.

    Raises:
        EsperError: E106 if a plugin file cannot be read.
    """
    installed = scan()
    given = [from_file(path) for path in selection.paths]
    candidates = (*installed_plugins(installed), *given)
    there = {candidate.id: candidate for candidate in candidates}
    found = [there[it.id] for it in lock.plugins if it.id in there]
    distributed = [candidate for candidate in found if not candidate.by_path]
    extra = [candidate for candidate in given if candidate not in found]
    # Files are called last, in the order in which they are given.
    files = [candidate for candidate in found if candidate.by_path] + extra
    present = [_present(candidate, installed) for candidate in (*distributed, *files)]
    bound = evolve(
        selection,
        wanted=tuple(candidate.id for candidate in distributed) or (NONE,),
        paths=tuple(Path(candidate.origin.file) for candidate in files if candidate.origin.file),
        observing=frozenset(it.plugin for it in lock.plugins if it.observes),
    )
    return bound, differences(lock, PluginLock(core=current_core(), plugins=tuple(present)))


def _present(candidate: Candidate, installed: Installed) -> LockedPlugin:
    return LockedPlugin.at(candidate.origin, digest=digest_of(candidate.origin, installed))


def _difference(first: LockedPlugin, second: LockedPlugin | None) -> Difference | None:
    if second is None:
        return _told(Differs.MISSING, first, first.version or first.digest, None)
    if first.version != second.version:
        return _told(Differs.VERSION, first, first.version, second.version)
    if first.digest != second.digest:
        return _told(Differs.DIGEST, first, first.digest, second.digest)
    return None


def _order(first: Sequence[LockedPlugin], second: Sequence[str]) -> Iterator[Difference]:
    """The first place at which two orders part; what comes after it is moved by it."""
    for place, (it, other) in enumerate(zip(first, second, strict=True), start=1):
        if it.id != other:
            yield _told(Differs.ORDER, it, str(place), str(second.index(it.id) + 1))
            return


def _told(differs: Differs, it: LockedPlugin, first: str | None, second: str | None) -> Difference:
    return Difference(differs=differs, plugin=it.plugin, distribution=it.distribution, first=first, second=second)
