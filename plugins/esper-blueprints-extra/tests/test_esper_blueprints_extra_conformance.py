"""The blueprints against the conformance suite."""

from esper_testing import BlueprintSuite


class TestBlueprintsExtra(BlueprintSuite):
    plugin = "esper-blueprints-extra"
    rms_limit = 1.0
