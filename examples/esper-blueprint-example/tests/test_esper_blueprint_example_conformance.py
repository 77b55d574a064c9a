"""Everything that Esper requires of a blueprint: one test for each check of the conformance suite."""

from esper_testing import BlueprintSuite


class TestExample(BlueprintSuite):
    plugin = "esper-blueprint-example"
    rms_limit = 1.0  # by construction: no value of the update is larger than the activation's
