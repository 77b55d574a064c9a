"""sink-tensorboard against the conformance suite."""

from esper_testing import SinkSuite


class TestTensorboard(SinkSuite):
    plugin = "esper-sink-tensorboard"
