"""`grow`: as `esper_core.grow`, in a loop that several processes run together."""

import warnings
from functools import partial
from typing import Any, cast

import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

import esper_growing
from esper_core.kasmina.root_module import KEPT_ALIKE
from esper_distributed.handle import DistributedHandle
from esper_distributed.ranks import Ranks
from esper_growing import GrowthHandle

#: What only the first process does.
_OF_THE_FIRST = ("sinks", "run_directory")


def grow(
    model: nn.Module,
    *,
    process_group: dist.ProcessGroup | None = None,
    timeout_seconds: float = 600.0,
    **growing: Any,
) -> GrowthHandle:
    """Make a network growable that several processes train together, each on its share of every batch.

    The policy is asked in the first process, on evidence from all of them; what it decides is carried out by all at the
    same step. Weights and buffers begin as the first process's. Sinks and the run directory are the first process's.

    In a training of one process this is `esper_core.grow`, so that one script serves both.

    Args:
        model: the network, the same in all processes. It may be wrapped in `DistributedDataParallel`, before or
            afterwards; it need not be, because gradients that nothing else reduces are reduced here.
        process_group: the processes; None: all.
        timeout_seconds: how long a process waits for another one.
        growing: everything else that `esper_core.grow` takes, the same in all processes. For `epoch_end`, give each
            process its share of the validation data; where all are given the same, they count once.

    Raises:
        EsperError: as `esper_core.grow`; E402 for a network whose parameters are sharded.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(process_group) == 1:
        return esper_growing.grow(inner, **growing)
    ranks = Ranks(process_group, timeout_seconds=timeout_seconds)
    ranks.share([tensor.data for tensor in (*inner.parameters(), *inner.buffers())])
    _tell_of_batch_norm(inner, first=ranks.first)
    KEPT_ALIKE.add(getattr(inner, "_orig_mod", inner))
    if not ranks.first:
        growing = {name: value for name, value in growing.items() if name not in _OF_THE_FIRST}
    return cast(DistributedHandle, esper_growing.grow(inner, **growing, handle=partial(DistributedHandle, ranks=ranks)))


def _tell_of_batch_norm(model: nn.Module, *, first: bool) -> None:
    """With statistics of a share of the batch the network is not the one that a single process would train."""
    named = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
    ]
    if named and first:
        warnings.warn(
            f"{named[0]} and {len(named) - 1} more normalise over the share of the batch that one process has: the "
            "network is not trained as in one process. Use GroupNorm or LayerNorm, or on GPUs "
            "torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)",
            stacklevel=3,
        )
