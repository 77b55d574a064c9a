"""Which split each image belongs to, and how pixels are normalised."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from esper_core.api import EsperError, Split, Splits
from esper_task_vision.images import LabelledImages, RawSplits

#: The splits belong to the task, like its data: the run's seed does not change them.
SPLIT_SEED = 0


def stratified(labels: NDArray[np.int64], sizes: Sequence[int], seed: int = SPLIT_SEED) -> list[NDArray[np.intp]]:
    """Return disjoint, sorted sets of indices of exactly these sizes, each with the class proportions of the labels.

    Sizes are positive. A set depends only on its own size and earlier sizes, so changing a later size does not change
    the first set.

    Raises:
        ValueError: if there are fewer labels than the sizes ask for.
    """
    if sum(sizes) > len(labels):
        raise ValueError(f"{sum(sizes)} samples were requested, but there are only {len(labels)}")
    # NumPy guarantees the stream of this older generator; the streams of newer ones may change with its version.
    random = np.random.RandomState(seed)
    pools = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    parts = []
    for size in sizes:
        counts = _apportion(np.array([len(pool) for pool in pools]), size)
        chosen = [pool[:count] for pool, count in zip(pools, counts, strict=True)]
        parts.append(np.sort(np.concatenate(chosen)))
        pools = [pool[count:] for pool, count in zip(pools, counts, strict=True)]
    return parts


def _apportion(available: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share `size` among the classes by the largest remainder; ties go to the lower class."""
    counts, remainders = np.divmod(available * size, available.sum())
    counts[np.argsort(-remainders, kind="stable")[: size - counts.sum()]] += 1
    return counts


def channel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel of (N, C, H, W), from exact integer sums."""
    axes = (0, 2, 3)
    count = images.size // images.shape[1]
    total = images.sum(axis=axes, dtype=np.int64)
    squares = np.square(images, dtype=np.uint16).sum(axis=axes, dtype=np.int64)
    means = total / count
    variances = [(count * int(s) - int(t) ** 2) / count**2 for s, t in zip(squares, total, strict=True)]
    return means, np.sqrt(variances)


def resident(raw: RawSplits) -> Splits:
    """Return the splits as float32 tensors; each channel has mean 0 and deviation 1 over the training images.

    Raises:
        EsperError: E302 if a channel of the training images is constant.
    """
    means, deviations = channel_statistics(raw.train.images)
    if not deviations.all():
        raise EsperError(
            "E302",
            "the images cannot be normalised",
            where=f"{len(raw.train)} training images",
            why=f"channel {int(deviations.argmin())} has the same value in every pixel",
            fix="get the data again, or train on more images",
        )
    shift, scale = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (means, deviations))

    def normalised(part: LabelledImages) -> Split:
        inputs = torch.from_numpy(part.images.astype(np.float32)).sub_(shift).div_(scale)
        return Split(inputs=inputs, targets=torch.from_numpy(part.labels))

    return Splits(train=normalised(raw.train), validation=normalised(raw.validation), test=normalised(raw.test))


def description(raw: RawSplits) -> dict[str, Any]:
    """Return size and digest of each split, as plain data."""
    parts = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    return {name: {"samples": len(part), "sha256": part.digest} for name, part in parts.items()}
