"""What ``pytest --esper-plugin NAME`` runs."""

import pytest

from esper_core.testing.check import CheckFailure, NotApplicable
from esper_core.testing.runner import Case


def test_conformance(esper_case: Case) -> None:
    """Run one check of one plugin or component."""
    seen = ""
    try:
        esper_case.judge()
    except NotApplicable as why:
        pytest.skip(str(why))
    except CheckFailure as failure:
        # Where the component raised itself, its traceback tells more than ours.
        if failure.__cause__ is not None:
            raise
        seen = str(failure)
    if seen:
        pytest.fail(seen, pytrace=False)
