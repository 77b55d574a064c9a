"""gates-standard against the conformance suite."""

from pathlib import Path
from typing import Any

from esper_core.testing import CheckLevel, find_plugins, run_checks
from esper_core.testing.expectations import Expectations
from esper_core.testing.parametrize import conformance
from esper_core.testing.runner import BAD, Outcome
from esper_gates_standard.plugin import esper_gates

(PLUGIN,) = find_plugins("esper-gates-standard")
EXPECTED = Expectations.read(Path(__file__).parents[1] / "esper-expect.toml")


@conformance(PLUGIN)
def test_plugin(check: Any) -> None:
    check(PLUGIN)


def test_components() -> None:
    results = [*run_checks([PLUGIN], CheckLevel.CONTRACT, ["component-*", "gate-*"], EXPECTED)]
    assert [result for result in results if result.outcome in BAD] == []
    expected = [r.case.target for r in results if r.outcome is Outcome.EXPECTED_FAILURE]
    assert expected == ["gate permissive-g5"]
    assert {result.case.spec.name for result in results if result.case.spec} == {spec.name for spec in esper_gates()}
