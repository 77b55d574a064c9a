"""bottleneck against the conformance suite."""

from esper_testing import BlueprintSuite


class TestBottleneck(BlueprintSuite):
    plugin = "esper-blueprint-bottleneck"
    rms_limit = 1.0
