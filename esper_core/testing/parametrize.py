"""Conformance checks as pytest tests."""

from typing import Any

import pytest

from esper_core.leyline.specs import ComponentSpec
from esper_core.testing import CHECKS, CheckLevel


def conformance(spec: ComponentSpec, level: CheckLevel = CheckLevel.TRAINING) -> Any:
    """Return a decorator that runs a test once per check that applies, as its argument `check`.

    Args:
        spec: the component.
        level: the highest level wanted.

    Example::

        @conformance(SUBJECT.spec)
        def test_conformance(check):
            check(SUBJECT)
    """
    chosen = [check for check in CHECKS if check.level <= level and check.applies_to(spec)]
    slow = pytest.mark.slow
    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=check.id, marks=[slow] if check.slow else []) for check in chosen]
    )
