"""task-teacher against the conformance suite."""

from esper_testing import TaskSuite


class TestTeacher(TaskSuite):
    plugin = "esper-task-teacher"
