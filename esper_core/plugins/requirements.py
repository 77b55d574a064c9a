"""Do the requirements of a distribution hold here."""

from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne

import esper_core
from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import Installed, canonical, scan

#: The distribution of the core itself.
CORE = "esper-core"

Release = tuple[int, ...]

#: The longer signs first: the shorter ones begin like them.
_COMPARE: dict[str, Callable[[Release, Release], bool]] = {
    ">=": ge, "<=": le, "==": eq, "!=": ne, "<": lt, ">": gt
}  # fmt: skip


class InstalledVersions:
    """Versions of installed distributions, each looked up once.

    Args:
        installed: what is installed, if the caller has looked already.
    """

    def __init__(self, installed: Installed | None = None) -> None:
        self._installed = installed
        self._versions: dict[str, str | None] = {CORE: esper_core.__version__}
        self._unmet: dict[str, str | None] = {}

    def __getitem__(self, distribution: str) -> str | None:
        """The version of a distribution, None if it is not installed."""
        name = canonical(distribution)
        if name not in self._versions:
            self._versions[name] = self._look_up(name)
        return self._versions[name]

    def unmet(self, requirement: str) -> str | None:
        """Say why a requirement does not hold here; None if it does, or if its environment marker excludes it."""
        if requirement not in self._unmet:
            self._unmet[requirement] = None if self._plainly_holds(requirement) else self._check(requirement)
        return self._unmet[requirement]

    def _plainly_holds(self, text: str) -> bool:
        """Decide the usual case, final releases alone, without `packaging`, which costs as much as starting Python."""
        front, _, marker = text.partition(";")
        name = required_name(front)
        clauses = front.strip()[len(name) :].strip()
        conditions = [_condition(clause.strip()) for clause in clauses.split(",")] if clauses else []
        if None in conditions or (marker and not _is_extra(marker)):
            return False
        if marker:  # nobody asks for an extra here
            return True
        installed, plus, build = (self[name] or "").partition("+")  # how it was built counts in no comparison
        release = None if plus and not build.replace(".", "").isalnum() else _release(installed)
        return release is not None and all(it(release) for it in conditions if it)

    def _check(self, text: str) -> str | None:
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            return f'the requirement "{text}" cannot be read: {str(error).partition(chr(10))[0]}'
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            return None
        version = self[requirement.name]
        needed = f"{requirement.name}{requirement.specifier}"
        if version is None:
            return f"it needs {needed}, which is not installed"
        if not requirement.specifier.contains(version, prereleases=True):
            return f"it needs {needed}, but {version} is installed"
        return None

    def _look_up(self, name: str) -> str | None:
        if self._installed is None:
            self._installed = scan()
        found = self._installed.find(name)
        if found is None:
            return None
        try:
            return found.metadata.version
        except EsperError:
            return found.version  # the folder's name has it as well


def required_name(requirement: str) -> str:
    """Return the name of the distribution that a requirement is about."""
    requirement = requirement.strip()
    end = next((i for i, char in enumerate(requirement) if not (char.isalnum() or char in "._-")), None)
    return requirement[:end]


def _condition(clause: str) -> Callable[[Release], bool] | None:
    """What a clause such as ``>=1.2`` asks of a release; None if it is anything but a comparison with a release."""
    sign = next((sign for sign in _COMPARE if clause.startswith(sign)), "")
    wanted = _release(clause[len(sign) :].strip()) if sign else None
    return None if wanted is None else lambda release: _COMPARE[sign](release, wanted)


def _is_extra(marker: str) -> bool:
    left, _, right = (part.strip() for part in marker.partition("=="))
    quoted = right[:1] in ("'", '"') and right[:1] == right[-1:]
    return left == "extra" and quoted and right[1:-1].replace("-", "").isalnum()


def _release(text: str) -> Release | None:
    """Numbers without trailing zeros: 1.0 and 1.0.0 are one release. None for what is not a final release."""
    parts = text.split(".")
    if not text.isascii() or not all(part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
