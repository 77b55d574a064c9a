"""policy-ppo against the conformance suite."""

from esper_testing import PolicySuite


class TestPPO(PolicySuite):
    plugin = "esper-policy-ppo"
