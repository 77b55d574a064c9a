"""rewards-standard against the conformance suite."""

from esper_testing import RewardTermSuite


class TestRewards(RewardTermSuite):
    plugin = "esper-rewards-standard"
