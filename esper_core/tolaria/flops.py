"""Counting what a growing host's epochs cost in floating-point operations."""

from itertools import pairwise

from torch import Tensor

from esper_core.kasmina.compose import Regime
from esper_core.kasmina.cost import ForwardCost, forward_cost
from esper_core.leyline.evidence import Compute
from esper_core.leyline.stages import Blend
from esper_core.tolaria.gathering import Gathered
from esper_core.tolaria.grower import Grower

#: A step of training is a forward pass, and a backward pass of twice its cost.
_STEP = 3


class FlopsMeter:
    """Adds to a grower's `Compute` what an epoch has cost.

    Args:
        grower: no seed has been planted in it yet.
        sample: one input, the batch axis left out.
    """

    def __init__(self, grower: Grower, sample: Tensor) -> None:
        self._grower = grower
        self._sample = sample
        self._paths = [site.path for site in grower.growth.sites]
        self._known: tuple[tuple[tuple[str, Regime], ...], ForwardCost | None] | None = None
        self._host = self.forward

    @property
    def forward(self) -> int | None:
        """Of one sample's forward pass as the network stands; None where it cannot be counted."""
        cost = self._cost()
        return None if cost is None else cost.total

    def trained(self, samples: int, batch_size: int) -> None:
        """Count an epoch of training, in the stages in which the seeds are now."""
        growth = self._grower.growth
        held = {slot: self._seed(slot) for slot in growth.bed.slots}
        candidates = {slot: cost for slot, cost in held.items() if growth.stage(slot).live}
        regimes = {slot: growth.bed.slots[slot].regime for slot in candidates}
        probed = [slot for slot, regime in regimes.items() if regime is Regime.PROBE]
        network = _sum(self._host, *(cost for slot, cost in held.items() if slot not in candidates))
        whole = _sum(network, *candidates.values())
        probes: int | None = 0
        if probed:
            # Its backward pass follows the activations' gradients to the seeds, and takes no weights' but theirs.
            probes = _sum(_times(2 * samples, whole), *(_times(samples, candidates[slot]) for slot in probed))
        if any(regime in (Regime.STRAIGHT_THROUGH, Regime.PROBE) for regime in regimes.values()):
            # That seeds in training leave the host alone is proved on one batch, with them and without.
            probes = _sum(probes, _times(_STEP * batch_size, _sum(network, whole)))
        self._add(
            training=_times(_STEP * samples, network),
            candidates=_times(_STEP * samples, _sum(*(c for slot, c in candidates.items() if slot not in probed))),
            probes=probes,
        )

    def measured(self, gathered: Gathered) -> None:
        """Count an epoch's measurements."""
        cost, growth = self._cost(), self._grower.growth
        if cost is None or gathered.blocks is None:
            self._add(evaluation=None, counterfactuals=None)
            return
        # In front of the first slot a batch has one block of rows, behind each as many as its branches then differ in.
        marks = [0, *(cost.until[growth.bed.sites[slot].path] for slot in gathered.blocks), cost.total]
        blocks = [gathered.passes, *gathered.blocks.values()]
        computed = sum(times * (end - begin) for times, (begin, end) in zip(blocks, pairwise(marks), strict=True))
        samples = gathered.metrics.samples
        self._add(evaluation=samples * cost.total, counterfactuals=samples * (computed - cost.total))

    def _add(self, **parts: int | None) -> None:
        self._grower.compute = self._grower.compute.plus(Compute(**parts))

    def _seed(self, slot: str) -> int | None:
        growth = self._grower.growth
        seed, site = growth.lives[slot], growth.bed.sites[slot]
        cost = self._grower.seed_cost(site, seed.blueprint).forward_flops
        return _sum(cost, self._grower.share_cost(site).forward_flops) if seed.blend is Blend.GATED else cost

    def _cost(self) -> ForwardCost | None:
        """Count again only when something has changed that the forward pass notices."""
        growth = self._grower.growth
        topology = tuple((growth.lives[slot].seed_id, held.regime) for slot, held in growth.bed.slots.items())
        if self._known is None or self._known[0] != topology:
            self._known = topology, forward_cost(growth.bed.model, self._sample, self._paths)
        return self._known[1]


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def _times(factor: int, part: int | None) -> int | None:
    return None if part is None else factor * part
