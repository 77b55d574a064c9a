"""executor-serial against the conformance suite."""

from esper_testing import ExecutorSuite


class TestSerial(ExecutorSuite):
    plugin = "esper-executor-serial"
