"""The processes that train one network together, and what they say to each other about its growth."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from attrs import frozen
from torch import Tensor
from torch.distributed.tensor import DTensor

from esper_core.leyline.errors import EsperError, summary

Value = TypeVar("Value")


@frozen
class _Failed:
    """What a process has raised, in words that the others can repeat."""

    why: str


class Ranks:
    """The processes of a group, as one of them sees them.

    What they say about the growth goes through a gloo group of its own: it never waits for the queue of a GPU, and has
    a deadline by itself. Every call is made by all processes at the same point of the training, whatever stage a seed
    is in. It begins with a barrier that names the processes which do not come.

    Args:
        group: trains the network; None: all processes.
        timeout_seconds: how long a process waits for the others.

    Attributes:
        group: the group that reduces gradients.
        rank: this process in the group, from 0.
        size: how many there are.
        waited: seconds in everything that is done together, waiting for each other included, so far. Where gradients
            are reduced on a GPU, a process waits elsewhere, and this is too little.
    """

    def __init__(self, group: dist.ProcessGroup | None = None, *, timeout_seconds: float = 600.0) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.waited = 0.0
        self._timeout = timedelta(seconds=timeout_seconds)
        members = None if group is None else dist.get_process_group_ranks(group)
        self._control: Any = dist.new_group(
            members, timeout=self._timeout, backend="gloo", use_local_synchronization=members is not None
        )

    @property
    def first(self) -> bool:
        """This is the process that decides, and the only one that writes and feeds sinks."""
        return self.rank == 0

    def exchange(self, purpose: str, make: Callable[[], Value]) -> list[Value]:
        """Return what every process makes, in the order of their ranks.

        Args:
            purpose: what this is for, for messages.
            make: called in each process. Records and plain data; the processes run the same code.

        Raises:
            Exception: what `make` raises in this process, once the others know.
            EsperError: E652 if another process has raised, or does not come within the timeout.
        """
        mine, raised = _attempt(make)
        said: list[Any] = [None] * self.size
        self._meet(purpose, lambda: dist.all_gather_object(said, mine, group=self._control))
        if raised is not None:
            raise raised
        for rank, other in enumerate(said):
            if isinstance(other, _Failed):
                raise _lost(purpose, f"rank {rank}: {other.why}")
        return said

    def decided(self, purpose: str, make: Callable[[], Value]) -> Value:
        """Return what the first process makes; the others do not call `make`. Raises as `exchange` does."""
        mine, raised = _attempt(make) if self.first else (None, None)
        said: list[Any] = [mine]
        source = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        self._meet(purpose, lambda: dist.broadcast_object_list(said, src=source, group=self._control))
        if raised is not None:
            raise raised
        if isinstance(said[0], _Failed):
            raise _lost(purpose, f"rank 0: {said[0].why}")
        value: Value = said[0]
        return value

    def rows(self, purpose: str, row: Sequence[int]) -> list[list[int]]:
        """Return a row of whole numbers of every process; all rows have the same length. Raises EsperError E652."""
        mine = torch.tensor([*row], dtype=torch.int64)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        self._meet(purpose, lambda: dist.all_gather(found, mine, group=self._control))
        return [one.tolist() for one in found]

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values, in place; what is sharded is each one's own."""
        source = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        with torch.no_grad(), self._waiting():
            for tensor in (it for it in tensors if not isinstance(it, DTensor)):
                # NCCL takes nothing that is not on a GPU.
                group = self._control if tensor.device.type == "cpu" else self.group
                dist.broadcast(tensor.detach(), src=source, group=group)

    def total(self, purpose: str, tensors: Sequence[Tensor]) -> None:
        """Add tensors of the same shapes up over the processes, in place. Raises EsperError E652."""
        try:
            with self._waiting():
                works = [dist.all_reduce(tensor, group=self.group, async_op=True) for tensor in tensors]
                for work in works:
                    assert work is not None
                    work.wait()
        except RuntimeError as error:
            raise _lost(purpose, str(error).strip().splitlines()[-1]) from error

    def leave(self) -> None:
        """Give up, so that no process waits for this one: what they do together fails there by name (E652)."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.waited += perf_counter() - began

    def _meet(self, purpose: str, collective: Callable[[], object]) -> None:
        try:
            with self._waiting():
                dist.monitored_barrier(self._control, timeout=self._timeout, wait_all_ranks=True)
                collective()
        except (RuntimeError, ValueError) as error:  # gloo's errors have no class of their own
            raise _lost(purpose, str(error).strip().splitlines()[-1]) from error


def _attempt(make: Callable[[], Value]) -> tuple[Value | _Failed, Exception | None]:
    try:
        return make(), None
    except Exception as error:  # raised again, as soon as the others have been told
        return _Failed(error.what if isinstance(error, EsperError) else summary(error)), error


def _lost(purpose: str, why: str) -> EsperError:
    return EsperError(
        "E652",
        "the processes that train together have lost each other",
        where=purpose,
        why=why,
        fix="look at what that process wrote last; then start all of them again from the last saved state",
    )
