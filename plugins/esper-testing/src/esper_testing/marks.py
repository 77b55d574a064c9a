"""A conformance check as a pytest test: its marks, and how it ends."""

from collections.abc import Callable
from typing import Any

import pytest

from esper_testing.check import Check, CheckFailure, NotApplicable


def marks(check: Check, expected: str | None) -> list[pytest.MarkDecorator]:
    """Return the marks of a check's test: `slow`, and a strict `xfail` where a failure is expected for a reason."""
    slow = [pytest.mark.slow] if check.slow else []
    if expected is None:
        return slow
    # Only the check's own verdict is expected: not an error in a fixture.
    return [*slow, pytest.mark.xfail(reason=expected, strict=True, raises=(CheckFailure, pytest.fail.Exception))]


def require(check: Callable[[Any], None], subject: Any) -> None:
    """Run a check as the body of a test: fail with what was seen, cause and fix; skip if there is nothing to judge."""
    __tracebackhide__ = True
    seen = ""
    try:
        check(subject)
    except NotApplicable as why:
        pytest.skip(str(why))
    except CheckFailure as failure:
        # Where the component raised itself, its traceback tells more than ours.
        if failure.__cause__ is not None:
            raise
        seen = str(failure)
    if seen:
        pytest.fail(seen, pytrace=False)
