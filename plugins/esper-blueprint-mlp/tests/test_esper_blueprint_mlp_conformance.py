"""mlp against the conformance suite."""

from esper_testing import BlueprintSuite


class TestMlp(BlueprintSuite):
    plugin = "esper-blueprint-mlp"
    rms_limit = 1.0
