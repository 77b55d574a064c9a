"""Validation and counterfactuals: per-sample losses of the network as it stands and with other alphas."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor

from esper_core.kasmina.forward_mode import ForwardMode, RowNorms
from esper_core.kasmina.slot import Slot
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import eagerly, kept_modes
from esper_core.leyline.evidence import EpochMetrics
from esper_core.leyline.protocols import Criterion, Split
from esper_core.tolaria.data import Inputs, Samples, batches_of, in_order
from esper_core.tolaria.footprint import Footprint
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.forking import Branch, ForkingForward, ForkTree

#: Other alphas for some slots; the empty setting is the network as it stands.
Setting = Mapping[str, float]


@frozen(kw_only=True)
class Measured:
    """Results of `measure`.

    Attributes:
        metrics: of the network as it stands, per-sample losses included.
        losses: per-sample losses for each setting, in the order asked for.
        update_ratios: rms(delta) / rms(h) for each slot whose seed acted, over the network as it stands and all
            settings together; not finite where an update is not.
        bounded: for each such slot, on which share, 0 to 1, of its rows (images, positions, vectors) the update was
            beyond the slot's limit.
        blocks: for each attached slot in execution order, how many blocks of rows a batch has behind it, over all
            passes: how many times the rest of the network up to the next slot is computed.
        passes: forward passes per batch: 1 where all settings shared one, up to one for each distinct setting where
            the host cannot fork, or its outputs are so large that few of them fit in memory.
    """

    metrics: EpochMetrics
    losses: tuple["array[float]", ...]
    update_ratios: Mapping[str, float]
    bounded: Mapping[str, float]
    blocks: Mapping[str, int]
    passes: int


def measure(
    slot_set: SlotSet,
    criterion: Criterion,
    split: Split | Samples,
    settings: Sequence[Setting] = (),
    *,
    batch_size: int | None = None,
    forks: ForkMap | None = None,
) -> Measured:
    """Measure the network on a split as it stands, and once more for every setting, on the same samples.

    Every module is left in the mode it was in; no random number is drawn and no weight or buffer changes. If a seed
    fails, all is measured again without it: no figure is made of both.

    Args:
        slot_set: the live slots of the network.
        criterion: loss and metric of a sample; a task is one.
        split: what to measure on: a split, or batches of inputs that are no single tensor.
        settings: other alphas for some of the slots that hold a seed.
        batch_size: samples per batch; by default as many as suit the number of settings and the size of the outputs.
        forks: where the host's batch may grow, as far as that is known already; by default it is found out again.

    Raises:
        KeyError: if a setting names a slot that holds no seed.
    """
    while True:
        failed = slot_set.failures()
        measured = _measured(slot_set, criterion, split, settings, batch_size, forks)
        if slot_set.failures() == failed:
            return measured


def _measured(
    slot_set: SlotSet,
    criterion: Criterion,
    split: Split | Samples,
    settings: Sequence[Setting],
    batch_size: int | None,
    forks: ForkMap | None,
) -> Measured:
    model = slot_set.model
    began = perf_counter()
    meters: dict[str, _UpdateMeter] = {}
    losses: list[list[Tensor]] = [[] for _ in range(len(settings) + 1)]
    correct: list[Tensor] = []
    with kept_modes(model):
        model.eval()
        with torch.no_grad(), eagerly():
            passes = _passes(
                slot_set, criterion, [{}, *settings], forks or ForkMap(), batches_of(split), meters, batch_size
            )
            with passes.forward.installed():
                for inputs, targets in in_order(split, passes.batch_size):
                    for index, outputs in passes.run(inputs):
                        losses[index].append(criterion.losses(outputs, targets))
                        if index == 0:
                            correct.append(criterion.correct(outputs, targets))
                        del outputs  # the next pass shall not find them in memory
    columns = [_as_array(column) for column in losses]
    count = len(columns[0])
    metrics = EpochMetrics(
        loss=sum(columns[0]) / count,
        accuracy=float(torch.cat(correct).double().mean()),
        samples=count,
        seconds=perf_counter() - began,
        sample_losses=columns[0],
    )
    return Measured(
        metrics=metrics,
        losses=tuple(columns[1:]),
        update_ratios={slot: meters[slot].ratio() for slot in slot_set.slots if slot in meters},
        bounded={slot: meters[slot].bounded_share() for slot in slot_set.slots if slot in meters},
        blocks={
            name: sum(len(tree.level(index + 1)) for _, tree in passes.groups)
            for index, name in enumerate(passes.slots)
        },
        passes=len(passes.groups),
    )


@frozen(kw_only=True)
class _Passes:
    """The forward passes that together give every setting: the settings' indices and the tree of each."""

    slots: Sequence[str]
    forward: ForkingForward
    groups: Sequence[tuple[Sequence[int], ForkTree]]
    batch_size: int

    def run(self, inputs: Inputs) -> Iterator[tuple[int, Any]]:
        """Yield the index and the output of each setting."""
        for indices, tree in self.groups:
            yield from zip(indices, self.forward(inputs, tree), strict=True)


def _passes(
    slot_set: SlotSet,
    criterion: Criterion,
    settings: Sequence[Setting],
    forks: ForkMap,
    batches: Sequence[tuple[Inputs, Tensor]],
    meters: "dict[str, _UpdateMeter]",
    batch_size: int | None,
) -> _Passes:
    if unknown := {name for setting in settings for name in setting} - {*slot_set.slots}:
        raise KeyError(f"no seed in slot {', '.join(sorted(unknown))}")
    slots = {name: slot for name, slot in slot_set.slots.items() if slot.attached}
    branches = [_branch(slots, setting) for setting in settings]
    differing = [name for index, name in enumerate(slots) if len({branch[index] for branch in branches}) > 1]
    fits = Footprint.of_any_size() if batch_size else forks.footprint(slot_set, criterion, batches)
    # Trying where to fork takes more than one branch as well.
    wanted = differing if fits.most_branches > 1 else []
    points = forks.points(slot_set, slots, wanted, batches[0][0])
    # Branches that differ at a slot where the host cannot fork do not share a pass.
    apart = max((index + 1 for index, name in enumerate(slots) if name in differing and name not in points), default=0)
    groups: dict[Branch, list[int]] = {}
    for index, branch in enumerate(branches):
        groups.setdefault(branch[:apart], []).append(index)
    chunks = [chunk for group in groups.values() for chunk in _chunks(group, branches, fits.most_branches)]
    trees = [ForkTree([branches[index] for index in chunk]) for chunk in chunks]

    def observe(slot: str, norms: RowNorms, times: int) -> None:
        meters.setdefault(slot, _UpdateMeter(slots[slot].limit)).add(norms, times)

    return _Passes(
        slots=[*slots],
        forward=ForkingForward(slot_set.model, slots, points, forks.output, observe=observe),
        groups=[*zip(chunks, trees, strict=True)],
        batch_size=batch_size or fits.batch_size(max(len({*tree.branches}) for tree in trees)),
    )


def _chunks(group: Sequence[int], branches: Sequence[Branch], most: int) -> Iterator[list[int]]:
    """Divide settings among passes with at most this many distinct branches each."""
    distinct = list(dict.fromkeys(branches[index] for index in group))
    for begin in range(0, len(distinct), most):
        together = {*distinct[begin : begin + most]}
        yield [index for index in group if branches[index] in together]


def _branch(slots: Mapping[str, Slot], setting: Setting) -> Branch:
    return tuple(_alpha(slot, setting.get(name, slot.override)) for name, slot in slots.items())


def _alpha(slot: Slot, alpha: float | None) -> float | None:
    """A seed in training changes no value as it stands: that is the branch without it."""
    return 0.0 if alpha is None and slot.forward_mode in (ForwardMode.STRAIGHT_THROUGH, ForwardMode.PROBE) else alpha


def _as_array(column: Sequence[Tensor]) -> "array[float]":
    values = array("f")
    values.frombytes(torch.cat([*column]).float().cpu().numpy().tobytes())
    return values


@define
class _UpdateMeter:
    """Sums of squares of a seed's input and update, and how many rows of the update are beyond its limit."""

    limit: float
    h: Tensor | float = 0.0
    delta: Tensor | float = 0.0
    beyond: Tensor | int = 0
    rows: int = 0

    def add(self, norms: RowNorms, times: int) -> None:
        beyond = norms.factor(self.limit) < 1
        self.beyond = self.beyond + times * beyond.sum()
        self.rows += times * beyond.numel()
        self.h = self.h + times * norms.h.square().sum()
        self.delta = self.delta + times * norms.delta.square().sum()

    def ratio(self) -> float:
        return float((torch.as_tensor(self.delta) / torch.as_tensor(self.h)).sqrt())

    def bounded_share(self) -> float:
        return float(self.beyond / self.rows)
