"""squeeze-excite against the conformance suite."""

from esper_testing import BlueprintSuite


class TestSqueezeExcite(BlueprintSuite):
    plugin = "esper-blueprint-squeeze-excite"
    rms_limit = 1.0
