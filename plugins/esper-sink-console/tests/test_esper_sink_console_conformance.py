"""sink-console against the conformance suite."""

from esper_testing import SinkSuite


class TestConsole(SinkSuite):
    plugin = "esper-sink-console"
    leave_out = {"sink-resumed"}
