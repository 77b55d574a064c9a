"""copy against the conformance suite."""

from esper_testing import BlueprintSuite


class TestCopy(BlueprintSuite):
    plugin = "esper-blueprint-copy"
    rms_limit = 1.0
