"""The checks of the conformance suite, from their list."""

from itertools import groupby

from reference_markdown import escaped, page, table

from esper_testing.all_checks import CHECKS
from esper_testing.check import Check, CheckLevel

_LEVELS = {
    CheckLevel.STATIC: "descriptors only",
    CheckLevel.CONTRACT: "a few forward passes",
    CheckLevel.TRAINING: "some optimizer steps",
    CheckLevel.FULL: "hundreds of calls, and processes of their own",
    CheckLevel.PERF: "idle hardware; on request",
}


def check_pages() -> dict[str, str]:
    """Return the page about all checks."""
    levels = table(["level", "what it needs"], ([f"`{it.name.lower()}`", text] for it, text in _LEVELS.items()))
    parts = [
        f"`esper plugins check NAME` runs these {len(CHECKS)} checks; each text says what a check requires.",
        levels,
    ]
    for kind, checks in groupby(CHECKS, key=lambda check: check.kind):
        parts.append(f"## Checks for a {kind.replace('-', ' ')}")
        parts += [_check(check) for check in checks]
    return {"checks.md": page("Checks", *parts)}


def _check(check: Check) -> str:
    conditions = [f"level `{check.level.name.lower()}`", f"since plugin API {check.since}"]
    conditions += [f"for components that declare {', '.join(f'`{it}`' for it in sorted(check.requires))}"] * bool(
        check.requires
    )
    conditions += [f"not for components that declare {', '.join(f'`{it}`' for it in sorted(check.exempts))}"] * bool(
        check.exempts
    )
    conditions += ["slow"] * check.slow
    return f"### `{check.id}`\n\n*{'; '.join(conditions)}.*\n\n{escaped(check.documentation)}"
