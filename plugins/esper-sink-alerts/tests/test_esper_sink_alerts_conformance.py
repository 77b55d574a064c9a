"""sink-alerts against the conformance suite."""

from esper_testing import SinkSuite


class TestAlerts(SinkSuite):
    plugin = "esper-sink-alerts"
