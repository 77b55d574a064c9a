"""policy-baselines against the conformance suite."""

from esper_testing import PolicySuite


class TestNull(PolicySuite):
    plugin = "esper-policy-baselines"
    component = "null"
    leave_out = ("policy-resumes",)


class TestRandom(TestNull):
    component = "random"


class TestPeriodic(TestNull):
    component = "periodic"


class TestFixedSchedule(PolicySuite):
    plugin = "esper-policy-baselines"
    component = "fixed-schedule"
