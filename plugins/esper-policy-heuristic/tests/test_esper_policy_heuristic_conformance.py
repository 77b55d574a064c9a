"""policy-heuristic against the conformance suite."""

from esper_testing import PolicySuite


class TestHeuristic(PolicySuite):
    plugin = "esper-policy-heuristic"
    leave_out = {"policy-resumes"}
