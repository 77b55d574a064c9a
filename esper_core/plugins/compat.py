"""Does a plugin fit here: its requirements, read from metadata before import, and its plugin API version after."""

import re
from collections.abc import Collection, Iterable, Mapping

import esper_core
from esper_core.leyline.errors import EsperError
from esper_core.plugins.discovery import Candidate
from esper_core.plugins.installed import canonical
from esper_core.plugins.records import Origin, PluginRecord, Status
from esper_core.plugins.requirements import InstalledVersions, required_name

#: The hooks whose components are called in another way than in the major version before, with what they offer.
CHANGED_PROTOCOLS: Mapping[str, str] = {"esper_policies": "policies", "esper_reward_terms": "reward terms"}


def check_requirements(candidate: Candidate, versions: InstalledVersions) -> EsperError | None:
    """Compare a distribution's requirements with what is installed. Extras are ignored.

    Returns:
        E120 for the first requirement that does not hold.
    """
    for requirement in candidate.requires:
        if why := versions.unmet(requirement):
            wanted = requirement.partition(";")[0].strip()
            return EsperError(
                "E120",
                f"{candidate.origin.title} does not fit here",
                why=why,
                fix=f"pip install '{wanted}', or run without it: --no-plugin {candidate.origin.plugin}",
            )
    return None


def check_api(declared: object, origin: Origin) -> tuple[str | None, EsperError | None]:
    """Compare the plugin API version that a module declares with the core's.

    The major version before is let through: see `check_protocols`.

    Returns:
        The version, and E121 if it does not fit or E122 (a warning) if none is declared; that counts as 1.0.
    """
    if declared is None:
        what = f"{origin.title} does not declare its plugin API version"
        return "1.0", EsperError("E122", what, where=origin.file, why="1.0 is assumed", fix='add ESPER_API = "2.0"')
    if not isinstance(declared, str) or not (numbers := re.fullmatch(r"(\d+)\.(\d+)", declared)):
        what = f"{origin.title} declares the plugin API version {declared!r}"
        fix = 'write text with major and minor number: ESPER_API = "2.0"'
        return None, EsperError("E121", what, where=origin.file, fix=fix)
    major, minor = int(numbers[1]), int(numbers[2])
    core_major, core_minor = esper_core.API
    if (major == core_major and minor <= core_minor) or major == core_major - 1:
        return declared, None
    newer = (major, minor) > (core_major, core_minor)
    return declared, EsperError(
        "E121",
        f"{origin.title} needs plugin API {declared}; this esper has {core_major}.{core_minor}",
        where=origin.file,
        fix="pip install -U esper-core" if newer else f"install a newer {origin.provider}",
    )


def check_protocols(declared: str | None, origin: Origin, hooks: Collection[str]) -> EsperError | None:
    """Check what a plugin of the major version before offers.

    Returns:
        E121 if one of its hooks leads to objects that are called in another way now.
    """
    changed = [CHANGED_PROTOCOLS[hook] for hook in sorted(hooks) if hook in CHANGED_PROTOCOLS]
    if declared is None or not changed or int(declared.partition(".")[0]) >= esper_core.API[0]:
        return None
    present = "{}.{}".format(*esper_core.API)
    port = f'port it (docs/api-history.md) and declare ESPER_API = "{present}"'
    return EsperError(
        "E121",
        f"{origin.title} was written for plugin API {declared}, and offers {' and '.join(changed)}",
        where=origin.file,
        why=f"plugin API {present} calls {' and '.join(changed)} in another way",
        fix=f"install a newer {origin.provider}, or {port}",
    )


def check_required_plugins(
    requires: Iterable[str], records: Iterable[PluginRecord], versions: InstalledVersions
) -> None:
    """Check what the configuration's ``plugins.requires`` asks for.

    Raises:
        EsperError: E123 if a distribution is missing, has another version, or one of its plugins is not active.
    """
    by_distribution: dict[str, list[PluginRecord]] = {}
    for record in records:
        by_distribution.setdefault(canonical(record.origin.distribution), []).append(record)
    for requirement in requires:
        what = f'the configuration requires "{requirement}"'
        if why := versions.unmet(requirement):
            fix = f"pip install '{requirement}'"
            raise EsperError("E123", what, where="plugins.requires", why=why.removeprefix("it needs "), fix=fix)
        name = canonical(required_name(requirement))
        for record in by_distribution.get(name, []):
            if record.status is not Status.ACTIVE:
                raise EsperError(
                    "E123",
                    what,
                    where="plugins.requires",
                    why=f"{record.origin.title} is {record.status}",
                    fix=f"esper plugins info {record.origin.plugin} says why",
                )
