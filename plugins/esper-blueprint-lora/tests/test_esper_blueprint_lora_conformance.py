"""lora against the conformance suite."""

from esper_testing import BlueprintSuite


class TestLora(BlueprintSuite):
    plugin = "esper-blueprint-lora"
    rms_limit = 1.0
