"""Gradients of a growing network, reduced over the processes: of what no `DistributedDataParallel` reduces already.

`DistributedDataParallel` makes its buckets of the parameters that there are when it wraps a model. It never learns of
seeds, and wrapping a model again at each change of its topology would make new buckets, and a new order of collectives,
in the middle of a training. So the buckets of seeds, and of a host that nothing wraps or shards, are made here at the
beginning of each epoch, behind the comparison of topologies: all processes then reduce the same bytes in the same
order, also where a seed has failed, or is not used, in one of them.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from attrs import define, field
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.graph import register_multi_grad_hook
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from esper_core.leyline.errors import EsperError
from esper_distributed.buckets import in_buckets, packed, unpacked
from esper_distributed.ranks import Ranks
from esper_growing.following.seed_gradients import SeedGradients


class SharedGradients(SeedGradients):
    """Gradients of live seeds, kept out of the loop's hands; they and the host's can be exchanged for reduced ones."""

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Return a parameter's gradient, where backward has left it or where it was taken to."""
        return self._taken.get(parameter, parameter.grad)

    def exchange(self, gradients: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
        """Go on as if backward had made these gradients."""
        taken = {*self._live()} if self._handles else set()
        for parameter, gradient in gradients:
            held = self.gradient(parameter)
            if held is not None:
                held.copy_(gradient)
            elif parameter in taken:
                self._taken[parameter] = gradient.clone()
            else:
                parameter.grad = gradient.clone()
        self.settle()

    def _touched(self, *, unscaled: bool) -> tuple[Tensor, Tensor] | tuple[None, None]:
        factor, norm = super()._touched(unscaled=unscaled)
        return (None, None) if factor is None or norm is None else (_whole(factor), _whole(norm))

    def settle(self) -> None:
        """Take the host's gradients as they are for those that backward has made: they are reduced by now."""
        for witness in [*self._left]:
            self._remember(witness)


@define(eq=False)
class GradientReducer:
    """Reduces gradients to their mean over the processes, at the end of each backward pass of an epoch.

    Attributes:
        ranks: the processes.
    """

    ranks: Ranks
    _buckets: list[list[nn.Parameter]] = field(factory=list)
    _gradients: SharedGradients | None = None
    _handles: list[Any] = field(factory=list)
    _paused: bool = False

    def begin(
        self, parameters: Sequence[nn.Parameter], seeds: Sequence[nn.Parameter], gradients: SharedGradients
    ) -> None:
        """Make the buckets of an epoch.

        Args:
            parameters: all of the network's, in an order that is the same in all processes.
            seeds: those of them that are seeds'.
            gradients: keeps those of seeds.

        Raises:
            EsperError: E653 if a DistributedDataParallel was made while there were seeds: it would wait for them when
                they are gone.
        """
        self.stop()
        covered = _covered(parameters)
        if covered & {*map(id, seeds)}:
            raise EsperError(
                "E653",
                "DistributedDataParallel has taken in a seed",
                why="it wraps a network in which something grows already, and would wait for the gradients of seeds "
                "that are gone",
                fix="wrap the model before the first epoch, or not at all: its gradients are reduced in any case",
            )
        self._gradients = gradients
        trained = [p for p in parameters if p.requires_grad]
        # FSDP reduces what it has sharded.
        mine = [p for p in trained if id(p) not in covered and not isinstance(p, DTensor)]
        self._buckets = [*in_buckets(mine)]
        if trained:
            self._handles = [register_multi_grad_hook(trained, self._backward_begins, mode="any")]

    def stop(self) -> None:
        """Reduce no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave gradients as each process makes them, to add up several passes; reduce them in the one behind."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def _backward_begins(self, _: Tensor) -> None:
        # The engine runs what is queued while it runs the queue: behind what DistributedDataParallel has queued.
        if not self._paused:
            _queue(lambda: _queue(self._backward_ends))

    def _backward_ends(self) -> None:
        assert self._gradients is not None
        if not dist.is_initialized():
            return
        with torch.no_grad():
            flats = [packed(bucket, self._gradients.gradient) for bucket in self._buckets]
            works = [dist.all_reduce(flat, group=self.ranks.group, async_op=True) for flat in flats]
            for bucket, flat, work in zip(self._buckets, flats, works, strict=True):
                assert work is not None
                work.wait()
                self._gradients.exchange(unpacked(bucket, flat / self.ranks.size))
            self._gradients.settle()


def _whole(number: Tensor) -> Tensor:
    return number.full_tensor() if isinstance(number, DTensor) else number


def _covered(parameters: Iterable[nn.Parameter]) -> set[int]:
    """Which parameters a DistributedDataParallel of this process reduces: an object refers to its class."""
    kinds = {DistributedDataParallel, *DistributedDataParallel.__subclasses__()}
    wrappers = [one for one in gc.get_referrers(*kinds) if issubclass(type(one), DistributedDataParallel)]
    reduced = {id(p) for one in wrappers for p in one._module_parameters if p.requires_grad}
    return reduced & {*map(id, parameters)}


def _queue(call: Any) -> None:
    # What FSDP does; there is no public way to do something at the end of a backward pass.
    Variable._execution_engine.queue_callback(call)
