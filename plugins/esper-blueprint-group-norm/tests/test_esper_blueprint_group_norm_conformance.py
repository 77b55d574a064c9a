"""group-norm against the conformance suite."""

from esper_testing import BlueprintSuite


class TestGroupNorm(BlueprintSuite):
    plugin = "esper-blueprint-group-norm"
    rms_limit = 1.0
