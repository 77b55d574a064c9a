"""policy-heuristic against the conformance suite."""

from esper_core.testing import Check, PolicySubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_policy_heuristic.plugin import esper_policies

(PLUGIN,) = find_plugins("esper-policy-heuristic")
(SPEC,) = esper_policies()


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPEC, leave_out={"policy-resumes"})
def test_component(check: Check) -> None:
    check(PolicySubject(spec=SPEC))
