"""sink-sqlite against the conformance suite."""

from esper_testing import SinkSuite


class TestSqlite(SinkSuite):
    plugin = "esper-sink-sqlite"
