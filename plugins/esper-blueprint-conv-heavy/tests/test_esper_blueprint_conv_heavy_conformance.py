"""conv-heavy against the conformance suite."""

from esper_testing import BlueprintSuite


class TestConvHeavy(BlueprintSuite):
    plugin = "esper-blueprint-conv-heavy"
    rms_limit = 1.0
