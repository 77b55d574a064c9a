"""sink-jsonl against the conformance suite."""

from esper_testing import SinkSuite


class TestJsonl(SinkSuite):
    plugin = "esper-sink-jsonl"
