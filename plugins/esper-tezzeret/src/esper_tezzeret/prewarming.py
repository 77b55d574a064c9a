"""How long loading an artifact and calling it for the first time take."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

#: So many times an artifact is loaded and called.
_TIMES = 5


def prewarm(load: Callable[[], nn.Module], example: Tensor) -> Mapping[str, float]:
    """Load an artifact several times, and call it once each time.

    Args:
        load: makes a new module of it.
        example: an activation.

    Returns:
        ``prewarm_p50_ms`` and ``prewarm_p95_ms``: median and 95th percentile (by linear interpolation) of loading and
        the first call together.
    """
    taken = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            load()(example)
        taken.append(1e3 * (time.perf_counter() - begun))
    p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]
    return {"prewarm_p50_ms": statistics.median(taken), "prewarm_p95_ms": p95}
