"""Documents as one stream of tokens, cut into sequences of equal length."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from esper_core.api import Split

#: The target of a position at which nothing is predicted.
NOTHING = -100


@frozen(kw_only=True, eq=False)
class Sequences:
    """Token sequences (N, T) with their targets (N, T): the token that follows, or `NOTHING`."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def digest(self) -> str:
        """SHA-256 over shape, tokens and targets."""
        content = hashlib.sha256(repr(self.inputs.shape).encode())
        content.update(self.inputs.astype("<i8").tobytes())
        content.update(self.targets.astype("<i8").tobytes())
        return content.hexdigest()

    def spread(self, count: int) -> "Sequences":
        """Return `count` sequences, evenly spaced from first to last, in their order.

        Raises:
            ValueError: if there are fewer.
        """
        if count > len(self):
            raise ValueError(f"{count} sequences were requested, but there are only {len(self)}")
        chosen = np.arange(count) * len(self) // count
        return Sequences(inputs=self.inputs[chosen], targets=self.targets[chosen])

    def resident(self) -> Split:
        """Return the sequences as tensors."""
        return Split(inputs=torch.from_numpy(self.inputs), targets=torch.from_numpy(self.targets))


def pack(documents: Iterable[NDArray[np.integer]], context: int, separator: int) -> Sequences:
    """Return all documents as sequences of `context` tokens.

    The stream is ``separator, document, separator, document, …, separator``. So every token of every document is
    predicted once, the first one from the separator, and so is the separator at its end. Sequences do not overlap, and
    nothing is left out: the last sequence is padded with separators whose target is `NOTHING`.

    Args:
        documents: each a vector of tokens; empty ones are skipped.
        context: tokens in a sequence.
        separator: the token between documents.
    """
    border = np.array([separator])
    parts = [part for document in documents if len(document) for part in (document, border)]
    stream = np.concatenate([border, *parts]).astype(np.int64)
    predicted = len(stream) - 1
    count = -(-predicted // context)
    inputs = np.full(count * context, separator, dtype=np.int64)
    targets = np.full(count * context, NOTHING, dtype=np.int64)
    inputs[:predicted], targets[:predicted] = stream[:-1], stream[1:]
    return Sequences(inputs=inputs.reshape(count, context), targets=targets.reshape(count, context))
