"""layer-norm against the conformance suite."""

from esper_testing import BlueprintSuite


class TestLayerNorm(BlueprintSuite):
    plugin = "esper-blueprint-layer-norm"
    rms_limit = 1.0
