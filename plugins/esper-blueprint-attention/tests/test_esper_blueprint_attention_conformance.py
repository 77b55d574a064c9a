"""attention against the conformance suite."""

from esper_testing import BlueprintSuite


class TestAttention(BlueprintSuite):
    plugin = "esper-blueprint-attention"
    rms_limit = 1.0
