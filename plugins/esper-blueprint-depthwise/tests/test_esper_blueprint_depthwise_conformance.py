"""depthwise against the conformance suite."""

from esper_testing import BlueprintSuite


class TestDepthwise(BlueprintSuite):
    plugin = "esper-blueprint-depthwise"
    rms_limit = 1.0
