"""conv-light against the conformance suite."""

from esper_testing import BlueprintSuite


class TestConvLight(BlueprintSuite):
    plugin = "esper-blueprint-conv-light"
    rms_limit = 1.0
