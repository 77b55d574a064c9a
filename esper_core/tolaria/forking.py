"""One forward pass for several settings: the batch forks where the settings first differ.

A *branch* says what each live slot does. Branches share everything in front of the first slot, in execution order, at
which they differ. There the batch grows along its first axis, a block of rows for each distinct prefix of the branches,
and at the end the outputs are divided again. A seed runs once for each distinct input, whatever the number of alphas
that want its update, and on each block by itself: so neither its result nor the guard against numbers that are not
finite depends on the other branches.

Growing at a slot's own output is right only if everything that comes later is made from that output. Where another
path leads around the site (a residual connection), the batch grows at the input of an enclosing submodule instead; see
`fork_points`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from esper_core.kasmina.forward_mode import RowNorms
from esper_core.kasmina.outputs import replace, select
from esper_core.kasmina.slot import Slot, Update
from esper_core.tolaria.data import Inputs, call, rows

#: What each live slot does, in execution order: another alpha, or None for the slot as it stands.
Branch = tuple[float | None, ...]


@frozen(kw_only=True)
class ForkPoint:
    """Where the batch may grow.

    Attributes:
        path: a submodule.
        entering: the place is its input, not its output.
        follows: for each leaf of that input or output, whether its first axis is the batch.
    """

    path: str
    entering: bool
    follows: tuple[bool, ...]


class ForkTree:
    """The distinct prefixes of some branches. A level counts the slots that are decided, from none to all."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self.branches = tuple(branches)
        depths = range(len(self.branches[0]) + 1)
        self._uses = [Counter(branch[:depth] for branch in self.branches) for depth in depths]
        self._places = [{prefix: place for place, prefix in enumerate(uses)} for uses in self._uses]

    def level(self, decided: int) -> Sequence[Branch]:
        """Return the prefixes of this length: one block of rows each, in this order."""
        return [*self._places[decided]]

    def place(self, prefix: Branch) -> int:
        """Return the place of a prefix in its level."""
        return self._places[len(prefix)][prefix]

    def uses(self, prefix: Branch) -> int:
        """Return how many branches begin with this prefix."""
        return self._uses[len(prefix)][prefix]


class ForkingForward:
    """Calls a model once for all branches of a tree.

    Args:
        model: the first axis of whatever it takes is the batch.
        slots: its attached slots in execution order.
        points: where the batch may grow for a slot; branches of one tree differ only at slots that have one.
        output: for each leaf of the model's output, whether its first axis is the batch.
        update: what computes the update of a slot's seed.
        observe: told of each update that was computed: slot, norms of its rows, and how many branches it served.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: Mapping[str, Slot],
        points: Mapping[str, ForkPoint],
        output: Sequence[bool],
        *,
        update: Callable[[Slot, Tensor, Tensor | None], Tensor | None] = Slot.update,
        observe: Callable[[str, RowNorms, int], None] | None = None,
    ) -> None:
        self._model = model
        self._slots = slots
        self._points = points
        self._output = output
        self._update = update
        self._observe = observe
        self._tree = ForkTree([()])
        self._rows = 0
        self._level = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the slots act by branch, and the batch grow, while the context lasts."""
        entrances = {
            point.path: (index + 1, point.follows)
            for index, name in enumerate(self._slots)
            if (point := self._points.get(name)) is not None and point.entering
        }
        handles = []
        try:
            for path, (level, follows) in entrances.items():
                hook = partial(self._enter, level, follows)
                handles.append(self._model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True))
            for index, (name, slot) in enumerate(self._slots.items()):
                slot.forward_override = partial(self._act, index, name)
            yield
        finally:
            for slot in self._slots.values():
                slot.forward_override = None
            for handle in handles:
                handle.remove()

    def __call__(self, inputs: Inputs, tree: ForkTree) -> list[Any]:
        """Return the model's output for each branch of the tree."""
        self._tree, self._rows, self._level = tree, rows(inputs), 0
        outputs = call(self._model, inputs)
        decided = self._level
        if len(tree.level(decided)) == 1:
            return [outputs for _ in tree.branches]
        leaves, structure = tree_flatten(outputs)
        divided = [
            torch.split(leaf, self._rows) if follows else None
            for leaf, follows in zip(leaves, self._output, strict=True)
        ]
        parts = [
            tree_unflatten(
                [leaf if blocks is None else blocks[place] for leaf, blocks in zip(leaves, divided, strict=True)],
                structure,
            )
            for place in range(len(tree.level(decided)))
        ]
        return [parts[tree.place(branch[:decided])] for branch in tree.branches]

    def _enter(self, level: int, follows: Sequence[bool], module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Forward pre-hook of an enclosing submodule."""
        before = self._level
        self._level = max(before, level)
        return self._spread((args, kwargs), follows, before)

    def _act(self, index: int, name: str, output: Any, beside: Tensor | None) -> Any:
        """Do a slot's work in all branches; fork here, unless that was done earlier.

        Beside the activation stands the mask, in hosts that do not fork, or the input that the submodule was given.
        """
        slot, before = self._slots[name], self._level
        self._level = max(before, index + 1)
        h = select(output, slot.site.output)
        acted = self._composed(index, name, h, beside, before)
        if len(acted) == 1:
            return output if acted[0] is h else replace(output, slot.site.output, acted[0])
        if self._grows(before):
            output = self._spread_beside(name, output, before)
        return replace(output, slot.site.output, torch.cat(acted))

    def _spread_beside(self, name: str, output: Any, before: int) -> Any:
        """Let everything grow that a slot's submodule returns beside the activation."""
        point = self._points[name]
        if point.entering:
            raise RuntimeError(f'"{point.path}" was not entered in front of slot "{name}", as it had been when tried')
        return output if self._slots[name].site.output is None else self._spread(output, point.follows, before)

    def _composed(self, index: int, name: str, h: Tensor, beside: Tensor | None, before: int) -> list[Tensor]:
        """Return the block of each branch behind the slot; `h` holds those of the level `before`."""
        slot = self._slots[name]
        count = len(self._tree.level(before))
        blocks = [h] if count == 1 else torch.split(h, self._rows)
        besides = [beside] * count if count == 1 or beside is None else torch.split(beside, self._rows)
        # Branches that agree on all slots in front of this one have the same rows here, wherever the batch has grown.
        known = min(before, index)
        updates: dict[Branch, _SharedUpdate] = {}
        acted = []
        for branch in self._tree.level(self._level):
            place = self._tree.place(branch[:before])
            compute = partial(self._computed, slot, besides[place])
            update = updates.setdefault(branch[:known], _SharedUpdate(compute, slot.site.layout.row_axes))
            block = blocks[place]
            serving = update.serving(self._tree.uses(branch))
            acted.append(slot.compose(block, branch[index], serving, update.measured))
        for update in updates.values():
            if self._observe is not None and update.norms is not None:
                self._observe(name, update.norms, update.served)
        return acted

    def _computed(self, slot: Slot, beside: Tensor | None, h: Tensor) -> Tensor | None:
        return self._update(slot, h, beside)

    def _grows(self, before: int) -> bool:
        return len(self._tree.level(before)) < len(self._tree.level(self._level))

    def _spread(self, tree: Any, follows: Sequence[bool], before: int) -> Any:
        """Repeat the blocks of the level `before` for the present level, in every leaf that follows the batch."""
        if not self._grows(before):
            return tree
        sources = [self._tree.place(branch[:before]) for branch in self._tree.level(self._level)]
        leaves, structure = tree_flatten(tree)
        grown = [
            _repeated(leaf, self._rows, sources) if flag else leaf for leaf, flag in zip(leaves, follows, strict=True)
        ]
        return tree_unflatten(grown, structure)


@define
class _SharedUpdate:
    """A seed's update of one input, computed when the first branch asks for it."""

    compute: Update
    axes: tuple[int, ...]
    delta: Tensor | None = None
    norms: RowNorms | None = None
    served: int = 0

    def measured(self) -> RowNorms | None:
        return self.norms

    def serving(self, branches: int) -> Update:
        def update(h: Tensor) -> Tensor | None:
            if self.delta is None and (delta := self.compute(h)) is not None:
                self.delta, self.norms = delta, RowNorms.of(h, delta, self.axes)
            self.served += branches
            return self.delta

        return update


def _repeated(leaf: Tensor, rows: int, sources: Sequence[int]) -> Tensor:
    blocks = torch.split(leaf, rows)
    return torch.cat([blocks[source] for source in sources])
