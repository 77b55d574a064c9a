"""Each process's share of every batch of a run."""

from collections.abc import Iterator

from torch import Tensor

from esper_core.kasmina.undisturbed import seed_random_state
from esper_core.leyline.protocols import Split, Task
from esper_core.leyline.streams import derive_seed
from esper_core.tolaria.data import BatchStream


class SharedBatches(BatchStream):
    """Batches of which this process gets a share: those of a run in one process, augmented alike, and then cut.

    Shares differ by one sample at most. What else the network draws at random in an epoch (dropout) is each process's
    own; the first one draws what a single process would.

    Args:
        split, task, batch_size, seed: as of a `BatchStream`; of the whole batch.
        rank: this process, from 0.
        size: how many there are.

    Attributes:
        weight: which part of the batch that was given last its share is, from 0 to 1.
    """

    def __init__(self, split: Split, task: Task, batch_size: int, seed: int, *, rank: int, size: int) -> None:
        super().__init__(split, task, batch_size, seed)
        self._rank, self._size = rank, size
        self.weight = 1 / size

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of this process's share of every batch of this epoch."""
        if self._rank:
            # The caller has begun the epoch's random state, and puts back what was before.
            seed_random_state(derive_seed(self.seed, "rank", self._rank, epoch), self._split.targets.device)
        for inputs, targets in super().epoch(epoch):
            begin, end = share(len(targets), self._rank, self._size)
            self.weight = (end - begin) / len(targets)
            yield inputs[begin:end], targets[begin:end]


def share(samples: int, rank: int, size: int) -> tuple[int, int]:
    """Return where a process's share of a number of samples begins and ends. The shares together are all of them."""
    return samples * rank // size, samples * (rank + 1) // size


def smallest_batch(samples: int, batch_size: int) -> int:
    """Return how many samples the smallest batch of an epoch has."""
    return min(batch_size, samples % batch_size or batch_size)
