"""block against the conformance suite."""

from esper_testing import BlueprintSuite


class TestBlock(BlueprintSuite):
    plugin = "esper-blueprint-block"
    rms_limit = 1.0
