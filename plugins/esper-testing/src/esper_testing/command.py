"""``esper plugins check``: the conformance suite on the command line."""

import gc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import click

from esper_app.api import is_tracing
from esper_core.leyline.errors import EsperError, ExitCode
from esper_runs.printing import echo, echo_json
from esper_testing.check import CheckLevel
from esper_testing.expectations import Expectations
from esper_testing.plugin_subject import find_plugins
from esper_testing.runner import BAD, Outcome, Result, beyond, not_looked_at, run_checks

_LEVELS = [name.lower() for name in CheckLevel.__members__]


@click.command()
@click.argument("target", metavar="NAME|PATH")
@click.option(
    "--level",
    type=click.Choice(_LEVELS),
    default="full",
    show_default=True,
    help="The highest level of checks: quick (the same as training) takes seconds, full takes minutes.",
)
@click.option("--select", multiple=True, metavar="ID", help="Only these checks; * is a wildcard. Repeatable.")
@click.option(
    "--expect",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A TOML file of expected failures with their reasons.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of results.")
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Also write the results as JUnit XML.")
@click.option("--verbose", "-v", is_flag=True, help="Show what passed and what was skipped as well.")
def check(
    target: str,
    level: str,
    select: tuple[str, ...],
    expect: Path | None,
    as_json: bool,
    junit: Path | None,
    verbose: bool,
) -> None:
    """Check that a plugin does what plugins must do.

    NAME is an entry point, a distribution, or distribution:entry-point; PATH a Python file, or the folder of a
    distribution that is installed. The exit status is 1 if a check fails.
    """
    gc.enable()  # listings do without; building networks does not
    expected = Expectations.read(expect) if expect else None
    results: list[Result] = []
    plugins, highest = find_plugins(target), CheckLevel[level.upper()]
    for result in run_checks(plugins, highest, select, expected):
        results.append(result)
        if not as_json and (verbose or result.outcome not in (Outcome.PASSED, Outcome.SKIPPED)):
            echo(_told(result))
    results += beyond(plugins, highest, select)
    if junit is not None:
        _write_junit(results, junit)
    if as_json:
        echo_json([result.as_data() for result in results])
    else:
        echo(_summary(results))
    if any(result.outcome in BAD for result in results):
        raise SystemExit(ExitCode.FAILED)


def _told(result: Result) -> str:
    lines = [f"{result.outcome.value.upper()} {result.case.target}: {result.case.check.id}"]
    if result.outcome in BAD:
        lines += [f"  {result.message}"]
        lines += [f"  likely cause: {result.cause}"] if result.cause else []
        lines += [f"  fix: {result.fix}"]
        if result.trace and is_tracing(click.get_current_context()):
            lines += [result.trace]
    elif result.message:
        lines += [f"  {result.message}"]
    return "\n".join(lines)


def _summary(results: Sequence[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    summary = f"{told or 'no checks'} in {sum(result.seconds for result in results):.1f} s"
    return "\n".join([summary, *(f"not looked at: {line}" for line in not_looked_at(results))])


def _write_junit(results: Sequence[Result], path: Path) -> None:
    bad = sum(result.outcome in BAD for result in results)
    skipped = sum(result.outcome in (Outcome.SKIPPED, Outcome.EXPECTED_FAILURE) for result in results)
    suite = ElementTree.Element(
        "testsuite", name="esper", tests=str(len(results)), failures=str(bad), errors="0", skipped=str(skipped)
    )
    for result in results:
        case = result.case
        place = f"{case.plugin.name}.{case.target}".replace(" ", ".")
        element = ElementTree.SubElement(
            suite, "testcase", classname=place, name=case.check.id, time=f"{result.seconds:.3f}"
        )
        if result.outcome in BAD:
            body = ElementTree.SubElement(element, "failure", message=_readable(result.message))
            body.text = _readable(f"{_told(result)}\n{result.trace}")
        elif result.outcome is not Outcome.PASSED:
            ElementTree.SubElement(element, "skipped", message=_readable(result.message))
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise EsperError("E513", f'cannot write "{path}"', where="--junit", why=str(error)) from error


def _readable(text: str) -> str:
    """XML has no control characters and no lone surrogates."""
    return "".join(c if c in "\n\t" or (c.isprintable() and not "\ud800" <= c <= "\udfff") else "?" for c in text)
