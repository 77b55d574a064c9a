"""sink-directory against the conformance suite."""

from esper_testing import SinkSuite


class TestDirectory(SinkSuite):
    plugin = "esper-sink-directory"
