"""Where the batch of a host may grow, found out by trying.

A site can be forked at its own output if everything downstream is made from that output. Nothing in a host says so: in
``x = x + attention(norm(x))`` a site behind the attention does not see `x`, which still has the rows of one branch. So
every place is tried on three samples against separate passes: first the site's output, then the input of each submodule
that encloses it, from the inside out (the input of the whole residual block takes `x` along). A place where the host
raises, or gives other outputs, is not used; a slot without any place is not forked, and settings that differ there
take passes of their own. Thus correctness does not rest on the host's structure, only speed does.

What is tried is the host, with an update that stands in for the seed's and is never zero: the seeds are run on each
branch by itself anyway. One slot at a time is enough: if all that follows a place is made from what grew there, it does
not matter how many blocks of rows had come into it. A host whose forward depends on the batch's composition in a way
that three samples do not show declares `Capability.FIXED_BATCH`. So does in effect one whose sites have padding masks:
models leave out masks that hide nothing, and no trial tells what they do in the next batch. It is not forked at all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.slot import Slot, on_trial
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.protocols import Criterion
from esper_core.tolaria.data import Inputs, call, part, rows, tensors
from esper_core.tolaria.footprint import Footprint, footprint, largest
from esper_core.tolaria.forking import Branch, ForkingForward, ForkPoint, ForkTree

#: Samples on which a place is tried. Not one: a single row would broadcast where it must not.
SAMPLES = 3

#: How far outputs may be apart, relative to the largest; kernels sum in another order when the batch is larger.
_TOLERANCES: Mapping[torch.dtype, float] = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
_TOLERANCE = 1e-4

#: A submodule's path and whether its input (True) or its output is meant; the root is "".
_Place = tuple[str, bool]


class ForkMap:
    """Where the batch of one host may grow, and how far: tried when it is first asked for, and remembered.

    Args:
        fixed_batch: the host declares that its forward depends on the batch, so it never grows.
    """

    def __init__(self, *, fixed_batch: bool = False) -> None:
        self.fixed_batch = fixed_batch
        self._footprints: dict[tuple[torch.Size, ...], Footprint] = {}
        self._places: Mapping[_Place, tuple[bool, ...]] | None = None
        self._points: dict[str, ForkPoint | None] = {}

    @property
    def output(self) -> tuple[bool, ...]:
        """For each leaf of the model's output, whether its first axis is the batch."""
        return (self._places or {}).get(("", False), ())

    def footprint(self, slot_set: SlotSet, criterion: Criterion, batches: Sequence[tuple[Inputs, Tensor]]) -> Footprint:
        """Return what measuring holds for each sample of these batches.

        Args:
            slot_set: the host, in eval mode and under `no_grad`.
            criterion: loss and metric of a sample; the same one every time.
            batches: what it is measured on.
        """
        inputs, targets = largest(batches)
        shapes = tuple(tensor.shape[1:] for tensor in tensors(inputs))
        if shapes not in self._footprints:
            self._footprints[shapes] = footprint(slot_set.model, slot_set.sites.values(), criterion, inputs, targets)
        return self._footprints[shapes]

    def points(
        self, slot_set: SlotSet, slots: Mapping[str, Slot], wanted: Sequence[str], inputs: Inputs
    ) -> Mapping[str, ForkPoint]:
        """Return the fork point of every wanted slot that has one.

        Args:
            slot_set: the host, in eval mode and under `no_grad`.
            slots: its attached slots in execution order.
            wanted: names of the slots that are asked for.
            inputs: samples to try a slot on that was not asked for before; with less than `SAMPLES`, or with
                several tensors for each, nothing forks.
        """
        if not wanted or self.fixed_batch or rows(inputs) < SAMPLES:
            return {}
        if len(tensors(inputs)) > 1:  # one may be a mask that hides nothing here, and something in the next batch
            return {}
        # A host with masks may leave out those that hide nothing, which depends on the batch.
        if any(site.mask is not None for site in slot_set.sites.values()):
            return {}
        if self._places is None:
            self._places = _batch_places(slot_set, inputs)
        if not any(self.output):  # then there is nothing to compare, nor to divide
            return {}
        for name in wanted:
            if name not in self._points:
                self._points[name] = self._first_right_point(slot_set.model, slots, name, part(inputs, 0, SAMPLES))
        return {name: point for name in wanted if (point := self._points[name]) is not None}

    def _first_right_point(
        self, model: nn.Module, slots: Mapping[str, Slot], name: str, inputs: Inputs
    ) -> ForkPoint | None:
        assert self._places is not None
        for path, entering in _candidates(slots[name].site.path):
            follows = self._places.get((path, entering), ())
            if any(follows):
                point = ForkPoint(path=path, entering=entering, follows=follows)
                forward = ForkingForward(model, slots, {name: point}, self.output, update=_stand_in)
                if _agrees(forward, slots, name, inputs):
                    return point
        return None


def _candidates(site: str) -> Iterator[_Place]:
    yield site, False
    parts = site.split(".")
    for length in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:length]), True


def _agrees(forward: ForkingForward, slots: Mapping[str, Slot], name: str, inputs: Inputs) -> bool:
    """Say whether a forked pass gives what separate passes give: without any seed, and with this slot's stand-in."""
    branches: list[Branch] = [tuple(alpha if slot == name else 0.0 for slot in slots) for alpha in (0.0, None)]
    slot, stands = slots[name], slots[name].forward_mode
    with forward.installed():
        slot.enter(ForwardMode.FOSSIL)  # as that the update is added as it is, without a bound
        try:
            forked = forward(inputs, ForkTree(branches))
            separate = [forward(inputs, ForkTree([branch]))[0] for branch in branches]
            return all(_close(a, b) for a, b in zip(tree_leaves(forked), tree_leaves(separate), strict=True))
        except Exception:  # whatever a host raises when its batch grows under it: this is not a place to fork
            return False
        finally:
            slot.enter(stands)


def _close(a: Any, b: Any) -> bool:
    if not isinstance(b, Tensor):
        return True
    if a.shape != b.shape:
        return False
    if not b.is_floating_point():
        return torch.equal(a, b)
    tolerance = _TOLERANCES.get(b.dtype, _TOLERANCE)
    # A host that has diverged forks as it did before: whether a run was resumed just then must make no difference.
    a, b = a.nan_to_num(), b.nan_to_num()
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def _stand_in(slot: Slot, h: Tensor, beside: Tensor | None = None) -> Tensor:
    """An update that no normalisation takes away, and as large as the activation."""
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(h.shape[1:], generator=generator).to(h)
    return (pattern * (1 + h.abs().amax())).expand_as(h)


def _batch_places(slot_set: SlotSet, inputs: Inputs) -> dict[_Place, tuple[bool, ...]]:
    """Return, for each place that is passed once per forward, which leaves there have the batch as first axis.

    Two passes with different numbers of samples tell. Empty if the host cannot run on so few.
    """
    wanted = {("", False)} | {place for site in slot_set.sites.values() for place in _candidates(site.path)}
    try:
        fewer, more = (_leaf_sizes(slot_set.model, wanted, part(inputs, 0, size)) for size in (SAMPLES - 1, SAMPLES))
    except Exception:  # a host that raises on a small batch declares nothing, but it cannot be tried either
        return {}
    return {
        place: tuple(a == SAMPLES - 1 and b == SAMPLES for a, b in zip(fewer[place][0], more[place][0], strict=True))
        for place in wanted
        if len(fewer[place]) == len(more[place]) == 1 and len(fewer[place][0]) == len(more[place][0])
    }


_Sizes = list[int | None]


def _leaf_sizes(model: nn.Module, places: set[_Place], inputs: Inputs) -> Mapping[_Place, Sequence[_Sizes]]:
    """Run the model and return, for every time a place is passed, the length of each leaf's first axis."""
    passed: defaultdict[_Place, list[_Sizes]] = defaultdict(list)
    with ExitStack() as stack:
        for path, entering in places:
            record = partial(_record, passed[path, entering])
            module = model.get_submodule(path)
            handle = (
                module.register_forward_pre_hook(_on_entry(record), with_kwargs=True)
                if entering
                else module.register_forward_hook(_on_exit(record))
            )
            stack.callback(handle.remove)
        stack.enter_context(on_trial(model))
        call(model, inputs)
    return passed


def _record(passed: list[_Sizes], tree: Any) -> None:
    passed.append([leaf.shape[0] if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in tree_leaves(tree)])


def _on_entry(record: Callable[[Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda module, args, kwargs: record((args, kwargs))


def _on_exit(record: Callable[[Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda module, args, output: record(output)
