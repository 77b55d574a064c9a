"""What this distribution offers: the task `diabetes`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import TaskSpec

ESPER_API = "2.0"


@hookimpl
def esper_tasks() -> Iterator[TaskSpec]:
    """Offer the task. Its host is narrow on purpose: a host that fits its data gains nothing by growing."""
    yield TaskSpec(
        name="diabetes",
        summary="Predict how diabetes progressed in 442 patients: a regression, judged by its loss.",
        factory="esper_task_tabular.diabetes:diabetes",
        host="mlp",
        host_options={"widths": [4]},
        defaults={"epochs": 40, "batch_size": 32, "optimizer.name": "adamw", "optimizer.lr": 1e-2},
    )
