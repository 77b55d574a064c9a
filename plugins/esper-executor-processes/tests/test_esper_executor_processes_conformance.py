"""executor-processes against the conformance suite."""

from esper_testing import ExecutorSuite


class TestProcesses(ExecutorSuite):
    plugin = "esper-executor-processes"
