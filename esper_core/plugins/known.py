"""Which distribution of this project offers what, so that a missing one can be suggested with its `pip install` line.

The data decide nothing but the words of a hint. They are written by `tools/first_party.py`, and a test holds them to
the distributions of this repository: a guessed name could be anybody's.
"""

from collections.abc import Iterable, Mapping
from functools import cache

from esper_core.leyline.errors import did_you_mean
from esper_core.leyline.kinds import PluginKind

FILE = "first_party.json"

#: In the place of a kind, for subcommands of `esper`.
COMMAND = "command"


@cache
def first_party() -> Mapping[str, Mapping[str, str]]:
    """Return the distributions by kind and by the name that a configuration uses: of a component or a gate set."""
    # Imported here: only an error asks.
    import json
    import pkgutil

    found: Mapping[str, Mapping[str, str]] = json.loads(pkgutil.get_data(__package__, FILE) or b"{}")
    return found


def distribution_of(kind: PluginKind, name: str) -> str:
    """Return the distribution that offers this component, or gate set: ours, or by the convention for names."""
    return first_party().get(kind.name, {}).get(name, f"esper-{kind.family}-{name}")


def install_line(kind: str, name: str) -> str | None:
    """Return the shell line that installs a component, or a command, of this project; None if it has none such."""
    distribution = first_party().get(kind, {}).get(name)
    return f"pip install {distribution}" if distribution else None


def install_line_for_plugin(name: str) -> str | None:
    """Return the shell line that installs a plugin of this project, given its plugin or distribution name."""
    distribution = name if name.startswith("esper-") else f"esper-{name}"
    ours = {it for kind, found in first_party().items() if kind != COMMAND for it in found.values()}
    return f"pip install {distribution}" if distribution in ours else None


def suggest(name: str, known: Iterable[str], install: str | None) -> str:
    """Say what to do about an unknown name: install it, take the nearest known one, or at least what is known."""
    from difflib import get_close_matches

    names = sorted(set(known))
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    meant = did_you_mean(name, names) if near or not install else None
    return ", or ".join(text for text in (install, meant) if text)
