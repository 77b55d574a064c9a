"""Counting what a growing host's epochs cost in floating-point operations."""

from itertools import pairwise

from torch import Tensor

from esper_core.kasmina.cost import ForwardCost, forward_cost
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.evidence import Compute
from esper_core.leyline.stages import Blend
from esper_core.tolaria.evidence import CollectedEvidence
from esper_core.tolaria.grower import Grower

#: A step of training is a forward pass, and a backward pass of twice its cost.
STEP = 3


class FlopsMeter:
    """Says what an epoch of training costs, and adds to a grower's `Compute` what measuring has cost.

    Args:
        grower: no seed has been planted in it yet.
        sample: one input, the batch axis left out.
    """

    def __init__(self, grower: Grower, sample: Tensor) -> None:
        self._grower = grower
        self._sample = sample
        self._paths = [site.path for site in grower.growth.sites]
        self._known: tuple[tuple[str, ...], ForwardCost | None] | None = None
        self._host = self.forward

    @property
    def forward(self) -> int | None:
        """Of one sample's forward pass as the network stands; None where it cannot be counted."""
        cost = self._cost()
        return None if cost is None else cost.total

    def training(self, samples: int, batch_size: int) -> Compute:
        """Return what an epoch of training costs, in the stages in which the seeds are now."""
        growth = self._grower.growth
        held = {slot: self._seed(slot) for slot in growth.slot_set.slots}
        candidates = {slot: cost for slot, cost in held.items() if growth.stage(slot).live}
        regimes = {slot: growth.slot_set.slots[slot].forward_mode for slot in candidates}
        probed = [slot for slot, forward_mode in regimes.items() if forward_mode is ForwardMode.PROBE]
        network = _sum(self._host, *(cost for slot, cost in held.items() if slot not in candidates))
        whole = _sum(network, *candidates.values())
        probes: int | None = 0
        if probed:
            # Its backward pass follows the activations' gradients to the seeds, and takes no weights' but theirs.
            probes = _sum(_times(2 * samples, whole), *(_times(samples, candidates[slot]) for slot in probed))
        if any(forward_mode in (ForwardMode.STRAIGHT_THROUGH, ForwardMode.PROBE) for forward_mode in regimes.values()):
            # That seeds in training leave the host alone is proved on one batch, with them and without.
            probes = _sum(probes, _times(STEP * batch_size, _sum(network, whole)))
        return Compute(
            training=_times(STEP * samples, network),
            candidates=_times(STEP * samples, _sum(*(c for slot, c in candidates.items() if slot not in probed))),
            probes=probes,
        )

    def measured(self, collected: CollectedEvidence) -> None:
        """Count an epoch's measurements."""
        cost, growth = self._cost(), self._grower.growth
        if cost is None or collected.blocks is None:
            self._add(evaluation=None, counterfactuals=None)
            return
        # In front of the first slot a batch has one block of rows, behind each as many as its branches then differ in.
        marks = [0, *(cost.until[growth.slot_set.sites[slot].path] for slot in collected.blocks), cost.total]
        blocks = [collected.passes, *collected.blocks.values()]
        computed = sum(times * (end - begin) for times, (begin, end) in zip(blocks, pairwise(marks), strict=True))
        samples = collected.metrics.samples
        self._add(evaluation=samples * cost.total, counterfactuals=samples * (computed - cost.total))

    def _add(self, **parts: int | None) -> None:
        self._grower.compute = self._grower.compute.plus(Compute(**parts))

    def _seed(self, slot: str) -> int | None:
        growth = self._grower.growth
        seed, site = growth.seeds[slot], growth.slot_set.sites[slot]
        cost = self._grower.seed_cost(site, seed.blueprint).forward_flops
        return _sum(cost, self._grower.share_cost(site).forward_flops) if seed.blend is Blend.GATED else cost

    def _cost(self) -> ForwardCost | None:
        """Count again only when another set of seeds takes part in the forward pass."""
        growth = self._grower.growth
        topology = tuple(
            growth.seeds[slot].seed_id for slot, held in growth.slot_set.slots.items() if held.acts_in_evaluation
        )
        if self._known is None or self._known[0] != topology:
            self._known = topology, forward_cost(growth.slot_set.model, self._sample, self._paths)
        return self._known[1]


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def _times(factor: int, part: int | None) -> int | None:
    return None if part is None else factor * part
