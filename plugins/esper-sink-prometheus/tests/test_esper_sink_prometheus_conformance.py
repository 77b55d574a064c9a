"""sink-prometheus against the conformance suite."""

from esper_testing import SinkSuite


class TestPrometheus(SinkSuite):
    plugin = "esper-sink-prometheus"
