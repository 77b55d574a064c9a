"""Conformance checks as pytest tests."""

from collections.abc import Callable, Collection
from typing import Any

import pytest
from attrs import evolve

from esper_core.leyline.specs import ComponentSpec
from esper_core.testing.all_checks import CHECKS
from esper_core.testing.check import Check, CheckLevel, NotApplicable, Scope
from esper_core.testing.expectations import Expectations
from esper_core.testing.plugin_subject import PluginSubject


def conformance(
    target: ComponentSpec | PluginSubject,
    level: CheckLevel = CheckLevel.TRAINING,
    *,
    leave_out: Collection[str] = (),
    expected: Expectations | None = None,
) -> Any:
    """Return a decorator that runs a test once per check that applies, as its argument `check`.

    A check that finds nothing to judge skips its test and says why.

    Args:
        target: a component's descriptor; or a plugin as a whole, for the checks of packaging and import.
        level: the highest level wanted.
        leave_out: ids of checks that find nothing to judge in this component.
        expected: failures that are expected, each with its reason; an unexpected pass fails.

    Example::

        @conformance(SUBJECT.spec)
        def test_conformance(check):
            check(SUBJECT)
    """
    component = None if isinstance(target, PluginSubject) else target.name
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                evolve(check, function=_skipping(check.function)),
                id=check.id,
                marks=marks(check, expected.reason(check.id, component) if expected else None),
            )
            for check in CHECKS
            if check.level <= level and check.id not in leave_out and _applies(check, target)
        ],
    )


def marks(check: Check, expected: str | None) -> list[pytest.MarkDecorator]:
    """Return the marks of a check's test: `slow`, and a strict `xfail` where a failure is expected for a reason."""
    slow = [pytest.mark.slow] if check.slow else []
    return slow if expected is None else [*slow, pytest.mark.xfail(reason=expected, strict=True)]


def _applies(check: Check, target: ComponentSpec | PluginSubject) -> bool:
    return check.kind is Scope.PLUGIN if isinstance(target, PluginSubject) else check.applies_to(target)


def _skipping(function: Callable[[Any], None]) -> Callable[[Any], None]:
    def check_or_skip(subject: Any) -> None:
        try:
            function(subject)
        except NotApplicable as why:
            pytest.skip(str(why))

    check_or_skip.__doc__ = function.__doc__
    return check_or_skip
