"""A host of a run that several processes train together: one network, the same bit for bit in all of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter

import torch
from attrs import evolve
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from esper_core.kasmina.root_module import KEPT_ALIKE
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.protocols import HostBuild
from esper_core.leyline.reports import HostReport
from esper_core.tolaria.host import GrowingHost, HostPlan
from esper_core.tolaria.numerics import Numerics
from esper_distributed.averaging import AveragedNumerics
from esper_distributed.merging import merged_metrics
from esper_distributed.ranks import Ranks
from esper_distributed.shares import SharedBatches, smallest_batch
from esper_distributed.topology import compare, compare_weights


class DataParallelHost(GrowingHost):
    """Trains a network on this process's share of every batch; gradients are averaged in front of each step.

    Every process makes the same host, is told the same actions at the same points, and measures the whole validation
    split: growth, governor and gates are those of one process. What was measured in the first process counts in all, so
    that no difference between machines decides differently. An epoch begins and ends with a comparison of what has
    grown, and of all weights.

    A process in which the host raises leaves the others, so that none of them waits for it.

    Args:
        plan: the host's.
        rank: this process, from 0.
        size: how many there are.
        meet: gives the processes, on a device; called in front of the first epoch, when all have made the host.
        name: of this process, for messages.
        pace: says what a person should know where processes need different times for an epoch. It is told in all
            processes, by their names, how many seconds each has taken without what they do together.

    Raises:
        EsperError: E401, E402 as a `GrowingHost`; E654 if the host cannot be trained in shares.
    """

    def __init__(
        self,
        plan: HostPlan,
        *,
        rank: int,
        size: int,
        meet: Callable[[torch.device], Ranks],
        name: str = "",
        pace: Callable[[Mapping[str, float]], tuple[str, ...]] = lambda seconds: (),
    ) -> None:
        self._meet = meet
        self._name, self._pace = name or f"rank {rank}", pace
        self._taken = 0.0
        self._ranks: Ranks | None = None
        self._size = size
        super().__init__(evolve(plan, numerics=partial(_averaged, plan.numerics)))
        assert isinstance(self.numerics, AveragedNumerics)
        self.batches = SharedBatches(
            plan.splits.train, plan.task, plan.batch_size, self.batches.seed, rank=rank, size=size
        )
        self.numerics.batches = self.batches
        self._refuse()

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Train one epoch, in all processes at once; see `GrowingHost.epoch`.

        Raises:
            EsperError: E651, E655 if the network is not the same in all processes, E652 if one of them is lost, E654
                if a seed cannot be trained in shares.
        """
        try:
            return super().epoch(reference)
        except BaseException:
            if self._ranks is not None:
                self._ranks.leave()
            raise

    def _build(self) -> HostBuild:
        build = super()._build()
        KEPT_ALIKE.add(build.module)
        return build

    def _train(self, epoch: int) -> EpochMetrics:
        assert isinstance(self.numerics, AveragedNumerics)
        begun = self._ranks is not None
        ranks = self._together()
        began, waited = perf_counter(), ranks.waited
        self.numerics.ranks, self.numerics.during = ranks, f"a step of epoch {epoch + 1}"
        _refuse_statistics(self.growth.slot_set.model)
        if not begun:  # they have been made or restored alike; machines may still differ
            ranks.share([tensor.data for tensor in (*self.model.parameters(), *self.model.buffers())])
        self._compare(ranks, f"the beginning of epoch {epoch + 1}")
        trained = super()._train(epoch)
        self._compare(ranks, f"the end of epoch {epoch + 1}")
        ranks.share([buffer for buffer in self.model.buffers() if buffer.is_floating_point()])
        self._taken = perf_counter() - began - (ranks.waited - waited)
        found = ranks.exchange(f"training in epoch {epoch + 1}", lambda: (trained, self._failures()))
        self._fail([failures for _, failures in found])
        return merged_metrics([metrics for metrics, _ in found])

    def _measure(self, trained: EpochMetrics, reference: Evidence | None) -> Evidence:
        assert isinstance(self.numerics, AveragedNumerics)
        began = perf_counter()
        evidence = super()._measure(trained, reference)
        taken = self._name, self._taken + perf_counter() - began
        purpose = f"measuring in epoch {self.grower.epoch + 1}"
        found = self._together().exchange(purpose, lambda: (evidence, self._failures(), taken))
        self._fail([failures for _, failures, _ in found])
        self.numerics.said = self._pace(dict(taken for _, _, taken in found))
        columns = zip(*(one.seeds for one, _, _ in found), strict=True)
        seeds = (evolve(seeds[0], isolated=_all([seed.isolated for seed in seeds])) for seeds in columns)
        return evolve(found[0][0], seeds=tuple(seeds))

    def _together(self) -> Ranks:
        if self._ranks is None:
            self._ranks = self._meet(self.plan.splits.train.inputs.device)
        return self._ranks

    def _compare(self, ranks: Ranks, when: str) -> None:
        compare(ranks, self.grower, self.grower.epoch, when=when)
        compare_weights(ranks, self.model, when=when)

    def _failures(self) -> Mapping[str, str]:
        return self.growth.slot_set.failures()

    def _fail(self, found: Sequence[Mapping[str, str]]) -> None:
        """A seed that has failed in one process has failed in all, for the first one's reason."""
        slots = self.growth.slot_set.slots
        for rank, failures in reversed([*enumerate(found)]):
            for slot, why in failures.items():
                slots[slot].failure = why if rank == 0 else f"in rank {rank}: {why}"

    def _refuse(self) -> None:
        plan, samples = self.plan, len(self.plan.splits.train.targets)
        smallest = smallest_batch(samples, plan.batch_size)
        if smallest < self._size:
            why = f"the smallest batch of an epoch has {smallest} samples, and there are {self._size} processes"
            raise _refused(why, "another batch_size, or fewer processes")
        if self.grower.forks.fixed_batch:
            raise _refused("the host depends on the size of its batch (fixed-batch)", "another host")
        if plan.modules is not None:
            why = "modules of seeds come from a store or a compiler, in each process when they are ready there"
            raise _refused(why, "leave the sections store and compiler out")
        _refuse_statistics(self.model)


def _averaged(inner: Callable[[], Numerics]) -> Numerics:
    return AveragedNumerics(inner())


def _all(values: Sequence[bool | None]) -> bool | None:
    return None if None in values else all(values)


def _refuse_statistics(model: nn.Module) -> None:
    """With statistics of a share of the batch the network would not be the one that a single process trains."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) or (isinstance(module, _NormBase) and module.track_running_stats):
            why = f'"{name}" is a {type(module).__name__}, whose statistics would be those of a share of the batch'
            raise _refused(why, "GroupNorm or LayerNorm, in the host cnn: --set host.norm=group")


def _refused(why: str, fix: str) -> EsperError:
    return EsperError("E654", "this run cannot be trained in shares of its batches", why=why, fix=fix)
