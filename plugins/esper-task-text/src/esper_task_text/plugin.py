"""What this distribution offers: the tasks `text` and `tinystories`."""

from collections.abc import Iterator, Mapping
from typing import Any

from esper_core.hooks import hookimpl
from esper_core.specs import TaskSpec

ESPER_API = "2.0"

#: On text, gradients have spikes at first; with clipping, a small GPT can use a larger learning rate and learns faster.
_ADAMW: Mapping[str, Any] = {"optimizer.name": "adamw", "optimizer.lr": 5e-3, "optimizer.clip_norm": 1.0}


@hookimpl
def esper_tasks() -> Iterator[TaskSpec]:
    """Offer the tasks. Their hosts are small on purpose: a host that fits its data gains nothing by growing."""
    yield TaskSpec(
        name="text",
        summary="Predict the next byte of local files; by default of the standard library's sources.",
        factory="esper_task_text.tasks:text",
        config="esper_task_text.config:TextConfig",
        host="transformer",
        host_options={"layers": 2, "width": 32, "heads": 2},
        defaults={"epochs": 16, "batch_size": 8, **_ADAMW},
    )
    yield TaskSpec(
        name="tinystories",
        summary="Predict the next token of short stories in simple English.",
        factory="esper_task_text.tasks:tinystories",
        config="esper_task_text.config:TinyStoriesConfig",
        install_hint="pip install 'esper-task-text[hub,tokenizers]'",
        host="transformer",
        host_options={"layers": 2, "width": 64, "heads": 4},
        defaults={"epochs": 12, "batch_size": 16, **_ADAMW, "optimizer.lr": 5e-3},
    )
