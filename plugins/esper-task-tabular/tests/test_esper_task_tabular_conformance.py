"""task-tabular against the conformance suite."""

from esper_testing import TaskSuite


class TestDiabetes(TaskSuite):
    plugin = "esper-task-tabular"
