"""How many samples and settings a pass of `measure` may hold, by what it would hold of them in memory."""

from collections.abc import Iterable, Sequence
from math import log2, prod
from typing import Any

from attrs import field, frozen
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from esper_core.leyline.protocols import Criterion
from esper_core.leyline.sites import Site
from esper_core.tolaria.data import Inputs, call, part, tensors

#: A batch has as many samples as the widest activation at a site, before it forks, has room for in this many bytes.
_CACHE_BYTES, _DEVICE_CACHE_BYTES = 2**21, 2**26
#: No pass holds more bytes of outputs, those of all branches together, and of what the loss makes of one branch's.
OUTPUT_BYTES, DEVICE_OUTPUT_BYTES = 2**28, 2**30
_FLOAT_BYTES = 4
#: Up to this many branches the batch is as large as without any; activations behind forks are mostly smaller ones.
_FREE_BRANCHES = 32
_FEWEST_SAMPLES, _MOST_SAMPLES = 8, 512
#: Samples that are run to find out; not one, which some hosts take for something else.
_TRIED = 2


@frozen(kw_only=True)
class Footprint:
    """What measuring holds for each sample.

    Attributes:
        widest: elements of its widest activation at a site, or input.
        output_bytes: of the network's output.
        loss_bytes: of everything that loss and metric make of that output, freed in between or not.
        on_cpu: the network runs on the CPU.
    """

    widest: int
    output_bytes: int = 0
    loss_bytes: int = 0
    on_cpu: bool = True
    _budget: int = field(init=False)

    @_budget.default
    def _bytes(self) -> int:
        return OUTPUT_BYTES if self.on_cpu else DEVICE_OUTPUT_BYTES

    @classmethod
    def of_any_size(cls) -> "Footprint":
        """Return one that bounds nothing, for batches whose size is given."""
        return cls(widest=1)

    @property
    def most_branches(self) -> int:
        """How many branches a pass may have: at least 1, and as many as there is room for with a single sample."""
        return max(1, (self._budget - self.loss_bytes) // max(1, self.output_bytes))

    def batch_size(self, branches: int) -> int:
        """Return a power of two: that many samples, in all branches, stay in cache, and their outputs in bounds."""
        cache = _CACHE_BYTES if self.on_cpu else _DEVICE_CACHE_BYTES
        samples = min(_MOST_SAMPLES, cache / (self.widest * _FLOAT_BYTES)) / max(1.0, branches / _FREE_BRANCHES)
        held = branches * self.output_bytes + self.loss_bytes
        return 1 << int(log2(max(1.0, min(max(_FEWEST_SAMPLES, samples), self._budget / max(1, held)))))


def largest(batches: Sequence[tuple[Inputs, Tensor]]) -> tuple[Inputs, Tensor]:
    """Return the batch with the largest samples. Those of one batch have one shape."""
    return max(batches, key=lambda batch: sum(map(_elements, tensors(batch[0]))))


def footprint(
    model: nn.Module, sites: Iterable[Site], criterion: Criterion, inputs: Inputs, targets: Tensor
) -> Footprint:
    """Return the footprint of the samples of a batch, found out by running two of them.

    Args:
        model: the network, in eval mode and under `no_grad`.
        sites: its sites.
        criterion: loss and metric of a sample.
        inputs, targets: a batch.
    """
    shapes = [*(tensor.shape[1:] for tensor in tensors(inputs)), *(site.sample_shape for site in sites)]
    output, loss = _held(model, criterion, inputs, targets)
    return Footprint(
        widest=max(map(prod, shapes)),
        output_bytes=output,
        loss_bytes=loss,
        on_cpu=tensors(inputs)[0].device.type == "cpu",
    )


def _held(model: nn.Module, criterion: Criterion, inputs: Inputs, targets: Tensor) -> tuple[int, int]:
    """Return the bytes of one sample's output, and of what loss and metric make of it."""
    few = min(_TRIED, len(targets))
    try:
        outputs = call(model, part(inputs, 0, few))
        with _Made() as made:
            criterion.losses(outputs, targets[:few])
            criterion.correct(outputs, targets[:few])
    except Exception:  # a host that raises on so few samples: what its outputs hold is not known, and bounds nothing
        return 0, 0
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves) // few, made.bytes // few


def _elements(tensor: Tensor) -> int:
    return prod(tensor.shape[1:])


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made, views left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        known = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and _storage(leaf) not in known:
                self.bytes += leaf.numel() * leaf.element_size()
        return made


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
