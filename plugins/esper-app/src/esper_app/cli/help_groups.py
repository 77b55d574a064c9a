"""In which order, and under which headings, help lists the commands that most people look for."""

from collections.abc import Iterable, Iterator, Mapping

#: Names by heading. A command that is not here stands under the last heading, whatever distribution offers it.
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Run": ("run", "config", "export"),
    "Look": ("show", "runs", "report", "watch", "dashboard", "events"),
    "Compare": ("compare", "bench"),
    "Learn": ("train", "eval", "explain", "imitate", "policy"),
    "Plugins": ("plugins", "catalogue"),
    "Services": ("up", "down", "status", "bus", "forge", "nissa", "prometheus", "services", "simic", "store"),
}

#: Of these, help has the names alone, so that all fit one screen.
NAMED_ALONE = frozenset({"imitate", "policy", "forge", "nissa", "prometheus", "services", "simic", "store"})

LAST = "Further commands"


def under_headings(names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading with those of the names that stand under it, in order; none without a name."""
    left = [*names]
    for heading, known in HEADINGS.items():
        if found := [name for name in known if name in left]:
            yield heading, found
            left = [name for name in left if name not in found]
    if left:
        yield LAST, left
