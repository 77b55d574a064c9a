"""bus-memory against the conformance suite."""

from esper_oona.testing.bus_suite import BusSuite


class TestMemory(BusSuite):
    plugin = "esper-bus-memory"
