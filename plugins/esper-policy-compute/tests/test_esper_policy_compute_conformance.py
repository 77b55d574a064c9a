"""policy-compute against the conformance suite."""

from esper_testing import PolicySuite


class TestCompute(PolicySuite):
    plugin = "esper-policy-compute"
    leave_out = {"policy-resumes"}
