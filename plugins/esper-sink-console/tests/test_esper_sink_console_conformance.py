"""sink-console against the conformance suite."""

from esper_core.testing import SinkSuite


class TestConsole(SinkSuite):
    plugin = "esper-sink-console"
    leave_out = {"sink-resumed"}
