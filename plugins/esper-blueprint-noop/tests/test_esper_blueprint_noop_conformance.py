"""noop against the conformance suite."""

from esper_testing import BlueprintSuite


class TestNoop(BlueprintSuite):
    plugin = "esper-blueprint-noop"
    rms_limit = 1.0
