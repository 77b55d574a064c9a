"""What this distribution offers."""

import os
from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import ExecutorSpec

ESPER_API = "2.0"

_HINT = "torchrun --nproc-per-node 2 -m esper_app run TASK --executor torchrun"


@hookimpl
def esper_executors() -> Iterable[ExecutorSpec]:
    """Offer the executor."""
    yield ExecutorSpec(
        name="torchrun",
        summary="Hosts in the processes of a torchrun job, on one machine or many.",
        factory="esper_executor_torchrun.data_parallel:torchrun_executor",
        config="esper_executor_torchrun.config:TorchrunConfig",
        unavailable=None if "TORCHELASTIC_RUN_ID" in os.environ else "torchrun has not started this process",
        install_hint=_HINT,
    )
