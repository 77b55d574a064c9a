"""residual-block against the conformance suite."""

from esper_testing import BlueprintSuite


class TestResidualBlock(BlueprintSuite):
    plugin = "esper-blueprint-residual-block"
    rms_limit = 1.0
