"""What ``pytest --esper-plugin NAME`` runs."""

from esper_testing.marks import require
from esper_testing.runner import Case


def test_conformance(esper_case: Case) -> None:
    """Run one check of one plugin or component."""
    require(Case.judge, esper_case)
