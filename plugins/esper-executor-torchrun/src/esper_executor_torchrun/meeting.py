"""How the processes of a job come together to train one host: what each of them makes, and their process group."""

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from esper_core.api import EsperError
from esper_executor_torchrun.config import TorchrunConfig
from esper_executor_torchrun.job import Job, store
from esper_executor_torchrun.stragglers import Stragglers

if TYPE_CHECKING:
    import torch

    from esper_distributed.ranks import Ranks


def made_in_shares(config: TorchrunConfig, plan: Any) -> Any:
    """Make a host of its parts, a `tolaria.host.HostPlan`, that this process trains with all others.

    Raises:
        EsperError: E401, E402 if it cannot be grown, E654 if it cannot be trained in shares.
    """
    from esper_distributed.run_host import DataParallelHost
    from esper_executor_torchrun.rank import myself

    job = Job.here()
    assert job is not None
    _check_device(plan.splits.train.inputs.device, job)

    def met(device: "torch.device") -> "Ranks":
        return meet(job, device.type, config.timeout_seconds)

    stragglers: Stragglers[str] = Stragglers(config.straggler)

    def pace(seconds: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(f"{process} {words}" for process, words in stragglers.named(seconds.items()).items())

    return DataParallelHost(plan, rank=job.rank, size=job.size, meet=met, name=str(myself(job.rank)), pace=pace)


@cache
def meet(job: Job, device: str, timeout_seconds: float) -> "Ranks":
    """Join the process group of a job. All processes call it at the same point; it lasts as long as they do."""
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore

    from esper_distributed.ranks import Ranks

    dist.init_process_group(
        "gloo" if device == "cpu" else f"cpu:gloo,{device}:{dist.get_default_backend_for_device(device)}",
        store=PrefixStore(f"{job.name}/data", store(job)),
        rank=job.rank,
        world_size=job.size,
        timeout=timedelta(seconds=timeout_seconds),
    )
    return Ranks(timeout_seconds=timeout_seconds)


def part() -> None:
    """Leave the process group, if there is one, at the end of a process."""
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _check_device(device: "torch.device", job: Job) -> None:
    """The device `cuda` is in each process its own GPU; one with a number would be the same GPU in all."""
    import torch

    if device.type != "cuda" or job.size == 1:
        return
    own = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    if device.index != own:
        raise EsperError(
            "E654",
            "this run cannot be trained in shares of its batches",
            why=f'the data are on "{device}", and rank {job.rank} has the GPU {own}',
            fix="--set device=cuda, without a number and without devices",
        )
