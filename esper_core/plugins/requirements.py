"""Do the requirements of a distribution hold here."""

import re
from operator import eq, ge, gt, le, lt, ne

import esper_core
from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import Installed, canonical, scan

#: The distribution of the core itself.
CORE = "esper-core"

_RELEASE = r"\d+(?:\.\d+)*"
_CLAUSE = rf"(?:>=|<=|==|!=|<|>)\s*{_RELEASE}"
_NAME = re.compile(r"\s*([a-z0-9](?:[\w.-]*[a-z0-9])?)", re.ASCII | re.IGNORECASE)
#: Name, versions, and the extra that it is for.
_PLAIN = re.compile(
    rf"([a-z0-9](?:[\w.-]*[a-z0-9])?)\s*((?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?)\s*"
    r"""(;\s*extra\s*==\s*(?:'[\w.-]+'|"[\w.-]+")\s*)?""",
    re.ASCII | re.IGNORECASE,
)
_CLAUSES = re.compile(rf"(>=|<=|==|!=|<|>)\s*({_RELEASE})", re.ASCII)
#: A final release. What follows the plus sign says how it was built, and counts in no comparison with one.
_FINAL = re.compile(rf"({_RELEASE})(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?", re.ASCII)

_COMPARE = {">=": ge, "<=": le, "==": eq, "!=": ne, "<": lt, ">": gt}


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
        plain = _PLAIN.fullmatch(text.strip())
        if plain is None:
            return False
        name, clauses, extra = plain.groups()
        if extra:  # nobody asks for one here
            return True
        version = _FINAL.fullmatch(self[name] or "")
        if version is None:
            return False
        release = _release(version[1])
        return all(_COMPARE[sign](release, _release(wanted)) for sign, wanted in _CLAUSES.findall(clauses))

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
    """Return the name of the distribution that a requirement is about; what cannot be read is all name."""
    found = _NAME.match(requirement)
    return found[1] if found else requirement


def _release(text: str) -> tuple[int, ...]:
    """Numbers without trailing zeros: 1.0 and 1.0.0 are one release."""
    numbers = [int(number) for number in text.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
