"""sink-jsonl against the conformance suite."""

from esper_core.testing import SinkSuite


class TestJsonl(SinkSuite):
    plugin = "esper-sink-jsonl"
