"""policy-baselines against the conformance suite."""

from esper_testing import PolicySuite


class TestBaselines(PolicySuite):
    plugin = "esper-policy-baselines"
    leave_out = ("policy-resumes",)
