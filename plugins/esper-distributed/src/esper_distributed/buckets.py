"""Gradients of several parameters in one tensor, so that one collective reduces all of them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

#: Bytes of a bucket, as in DistributedDataParallel.
_BUCKET = 25 << 20


def in_buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield parameters of one dtype and device together, in their order, as many as are not too large for a bucket."""
    kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for alike in kinds.values():
        bucket: list[nn.Parameter] = []
        for parameter in alike:
            if bucket and sum(p.nbytes for p in bucket) + parameter.nbytes > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(parameter)
        yield bucket


def packed(bucket: Sequence[nn.Parameter], gradient: Callable[[nn.Parameter], Tensor | None]) -> Tensor:
    """Return gradients one behind the other, (elements + parameters,).

    Zeros stand for those that are missing. Behind them stands 1 for each parameter that has one, and 0 otherwise.
    """
    found = [gradient(parameter) for parameter in bucket]
    parts = [torch.zeros_like(p) if it is None else it for p, it in zip(bucket, found, strict=True)]
    there = torch.tensor([float(it is not None) for it in found], dtype=bucket[0].dtype, device=bucket[0].device)
    return torch.cat([*(part.reshape(-1) for part in parts), there])


def unpacked(bucket: Sequence[nn.Parameter], flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield the gradients in what `packed` gave, once it was added up; what has none in any process is left out."""
    sizes = [p.numel() for p in bucket]
    there = flat[sum(sizes) :].tolist()
    for parameter, part, known in zip(bucket, torch.split(flat[: sum(sizes)], sizes), there, strict=True):
        if known:
            yield parameter, part.view_as(parameter)
