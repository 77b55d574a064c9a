"""Run checks against plugins: which ones, with which outcome, and what was expected."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import field, frozen

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.specs import ComponentSpec
from esper_testing.all_checks import all_checks
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, Scope
from esper_testing.conformance import conformance
from esper_testing.expectations import Expectations
from esper_testing.plugin_subject import PluginSubject, find_plugins


class Outcome(StrEnum):
    """What came of a check.

    Attributes:
        PASSED: the component does what the check demands.
        FAILED: it does not.
        EXPECTED_FAILURE: it does not, as its author says with a reason.
        UNEXPECTED_PASS: it does, though its author says that it does not; counts as a failure.
        SKIPPED: there is nothing to judge; the reason says why.
    """

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED_FAILURE = "expected-failure"
    UNEXPECTED_PASS = "unexpected-pass"
    SKIPPED = "skipped"


#: Outcomes with which a plugin does not pass.
BAD = frozenset({Outcome.FAILED, Outcome.UNEXPECTED_PASS})


@frozen(kw_only=True)
class Case:
    """One check of one plugin or of one of its components.

    Attributes:
        check: the check.
        plugin: the plugin.
        spec: the component, None for a check of the plugin as a whole.
        expected: why the check is expected to fail, None if it is not.
        subject: makes what the check looks at.
    """

    check: Check
    plugin: PluginSubject
    spec: ComponentSpec | None = None
    expected: str | None = None
    subject: Callable[[], Any] = field(repr=False)

    @property
    def target(self) -> str:
        """The component's kind and name, or the plugin's name."""
        return self.plugin.name if self.spec is None else f"{self.spec.kind} {self.spec.name}"

    @property
    def skip(self) -> str | None:
        """Why there is nothing to judge, as far as the descriptor tells; None if there may be."""
        if self.spec is None:
            return None
        if self.spec.unavailable and self.check.level > CheckLevel.STATIC:
            return f"it cannot run here: {self.spec.unavailable}"
        return self.check.excuse(self.spec, self.plugin.record.api)

    def judge(self) -> None:
        """Run the check.

        Raises:
            CheckFailure: if the plugin or component does not pass.
            NotApplicable: if there is nothing to judge.
        """
        if (why := self.skip) is not None:
            raise NotApplicable(why)
        try:
            subject = self.subject()
        except Exception as error:
            raise CheckFailure(
                f"{type(error).__name__}: {error}",
                cause="its options class cannot be imported, or not be called without arguments",
                fix='write config="package.config:Class", and give every option a default',
            ) from error
        self.check(subject)


@frozen(kw_only=True)
class Result:
    """What came of one case.

    Attributes:
        case: what was run.
        outcome: what came of it.
        message: for a failure what was seen, else the reason; "" if it passed.
        cause: of a failure, likely.
        fix: of a failure.
        trace: the traceback where the component raised, else "".
        seconds: wall time.
    """

    case: Case
    outcome: Outcome
    message: str = ""
    cause: str = ""
    fix: str = ""
    trace: str = field(default="", repr=False)
    seconds: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """Return the result as plain data."""
        case = self.case
        return {
            "plugin": case.plugin.name,
            "kind": case.spec and case.spec.kind,
            "component": case.spec and case.spec.name,
            "check": case.check.id,
            "level": case.check.level.name.lower(),
            "outcome": self.outcome.value,
            "message": self.message or None,
            "cause": self.cause or None,
            "fix": self.fix or None,
            "seconds": round(self.seconds, 4),
        }


def cases(
    plugins: Sequence[PluginSubject],
    level: CheckLevel = CheckLevel.FULL,
    select: Sequence[str] = (),
    expected: Expectations | None = None,
) -> list[Case]:
    """Return what there is to run, plugin by plugin and component by component.

    Args:
        plugins: what is checked.
        level: the highest level wanted.
        select: ids of checks or patterns with ``*``; none: all.
        expected: what is expected to fail.

    Raises:
        EsperError: E202 if a name in `select` or `expected` is not a check's.
    """
    checks = all_checks({kind.name: kind for plugin in plugins for kind in plugin.kinds}.values())
    known = [check.id for check in checks]
    for pattern in select:
        if not any(fnmatchcase(id, pattern) for id in known):
            raise EsperError(
                "E204", f'no check is called "{pattern}"', where="--select", fix=did_you_mean(pattern, known)
            )
    expected = expected or Expectations()
    expected.require_known(known, [spec.name for plugin in plugins for spec in plugin.specs])
    chosen = [
        check
        for check in checks
        if check.level <= level and (not select or any(fnmatchcase(check.id, pattern) for pattern in select))
    ]
    return [
        Case(
            check=check,
            plugin=plugin,
            spec=spec,
            expected=expected.reason(check.id, spec.name if spec else None),
            subject=subject,
        )
        for plugin in plugins
        for spec, subject in _looked_at(plugin)
        for check in chosen
        if (check.kind is Scope.PLUGIN if spec is None else check.concerns(spec))
    ]


def _looked_at(plugin: PluginSubject) -> Iterator[tuple[ComponentSpec | None, Callable[[], Any]]]:
    """Yield what there is to look at, and what makes its subject: one for all of its checks."""
    yield None, lambda: plugin
    suites = {kind.name: conformance(kind) for kind in plugin.kinds} if plugin.specs else {}
    for spec in plugin.specs:
        yield spec, cache(partial(suites[spec.kind].subject, spec=spec))


def run_checks(
    target: str | Path | Sequence[PluginSubject],
    level: CheckLevel = CheckLevel.FULL,
    select: Sequence[str] = (),
    expected: Expectations | None = None,
) -> Iterator[Result]:
    """Run checks and yield each result when it is there.

    Args:
        target: plugins, or what `find_plugins` takes.
        level, select, expected: as for `cases`.

    Raises:
        EsperError: as `find_plugins` and `cases` do.
    """
    plugins = find_plugins(target) if isinstance(target, str | Path) else target
    for case in cases(plugins, level, select, expected):
        yield run(case)


def beyond(plugins: Sequence[PluginSubject], level: CheckLevel, select: Sequence[str] = ()) -> list[Result]:
    """Return what is not looked at because it is above the level, as results that say so.

    Raises:
        EsperError: as `cases` does.
    """
    return [
        Result(case=case, outcome=Outcome.SKIPPED, message=f"level {case.check.level.title}, not asked for")
        for case in cases(plugins, CheckLevel.PERF, select)
        if case.check.level > level and case.skip is None
    ]


def not_looked_at(results: Iterable[Result]) -> list[str]:
    """Return a line for each reason for which something was not looked at, with the checks."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        if result.outcome is Outcome.SKIPPED and result.case.skip is None:
            by_reason.setdefault(result.message, []).append(result.case.check.id)
    return [f"{', '.join(dict.fromkeys(ids))} ({reason})" for reason, ids in by_reason.items()]


def run(case: Case) -> Result:
    """Run one case."""
    begin = perf_counter()
    try:
        case.judge()
    except NotApplicable as why:
        return Result(case=case, outcome=Outcome.SKIPPED, message=str(why), seconds=perf_counter() - begin)
    except CheckFailure as failure:
        outcome = Outcome.FAILED if case.expected is None else Outcome.EXPECTED_FAILURE
        trace = "".join(traceback.format_exception(failure.__cause__)) if failure.__cause__ else ""
        details = {"cause": failure.cause, "fix": failure.fix, "trace": trace}
        message = failure.seen if case.expected is None else f"{case.expected} ({failure.seen})"
        return Result(case=case, outcome=outcome, message=message, seconds=perf_counter() - begin, **details)
    seconds = perf_counter() - begin
    if case.expected is None:
        return Result(case=case, outcome=Outcome.PASSED, seconds=seconds)
    message = f"it passes, though it is expected to fail: {case.expected}"
    fix = "take it out of the file of expected failures"
    return Result(case=case, outcome=Outcome.UNEXPECTED_PASS, message=message, fix=fix, seconds=seconds)
