"""What this distribution offers: the task `teacher`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import TaskSpec

ESPER_API = "2.0"


@hookimpl
def esper_tasks() -> Iterator[TaskSpec]:
    """Offer the task. Its host has the teacher's blocks but lacks the teacher's updates."""
    yield TaskSpec(
        name="teacher",
        summary="Images labelled by a fixed random network; what a host must grow is known.",
        factory="esper_task_teacher.task:TeacherTask",
        config="esper_task_teacher.config:TeacherConfig",
        host="cnn",
        host_options={"widths": [4, 8]},
        defaults={
            "epochs": 30,
            "batch_size": 64,
            "optimizer.name": "sgd",
            "optimizer.lr": 0.1,
            "optimizer.momentum": 0.9,
            "optimizer.nesterov": True,
            "optimizer.weight_decay": 5e-4,
        },
    )
