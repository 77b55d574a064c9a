"""The control of equal compute: a host that never grows, trained after a run with as many FLOPs as it has spent."""

from collections.abc import Iterator, Sequence
from math import isfinite

import torch
from attrs import evolve, frozen

from esper_app.execution.assembly import Assembly
from esper_app.execution.run_hosts import RunHost
from esper_core.kasmina.cost import ForwardCost, forward_cost
from esper_core.leyline.executors import Plan
from esper_core.leyline.reports import FinalReport
from esper_core.leyline.streams import derive_seed
from esper_core.tolaria.flops import STEP
from esper_runs.formatting import flops, whole
from esper_runs.result import control_of


@frozen(kw_only=True)
class Control:
    """One control that is to be trained.

    Attributes:
        name: the control's.
        host: the grown host that it is compared with.
        index: which of the run's hosts that is.
        spent: floating-point operations of that host in all: training, candidates, probes, evaluation, counterfactuals.
        epochs: how many epochs of the ungrown host cost as much, training and evaluation; rounded up.
    """

    name: str
    host: str
    index: int
    spent: int
    epochs: int

    def plan(self, assembly: Assembly) -> Plan:
        """Return what the control is made of: what its host is made of, over another number of epochs."""
        plan = assembly.plan(self.name, self.index)
        return evolve(plan, config={**plan.config, "epochs": self.epochs})

    def in_words(self) -> str:
        """Say what it is."""
        return (
            f"{self.name}: {whole(self.epochs)} epochs of the ungrown host cost the {flops(self.spent)} of {self.host}"
        )


def controls(assembly: Assembly, hosts: Sequence[RunHost], finals: Sequence[FinalReport]) -> tuple[Control, ...]:
    """Return the controls of a run that is over, in the order of its hosts.

    A host in which nothing germinated is its own control, and one that has failed or diverged is not compared.

    Args:
        assembly: the parts of the run.
        hosts: those that could grow.
        finals: their final reports, in the same order.
    """
    compared = [
        (index, host, final.compute.total)
        for index, (host, final) in enumerate(zip(hosts, finals, strict=True))
        if _comparable(final)
    ]
    per_epoch = epoch_flops(assembly) if compared else None
    return tuple(
        Control(name=control_of(host.name), host=host.name, index=index, spent=spent, epochs=-(-spent // per_epoch))
        for index, host, spent in compared
        if spent is not None and per_epoch
    )


def epoch_flops(assembly: Assembly) -> int | None:
    """Return what an epoch of the ungrown host costs, training and evaluation; None if it cannot be counted."""
    splits, (_, cost) = assembly.splits, host_cost(assembly)
    return None if cost is None else cost.total * (STEP * len(splits.train.targets) + len(splits.validation.targets))


def host_cost(assembly: Assembly) -> tuple[int, ForwardCost | None]:
    """Return how many parameters the ungrown host has, and what a sample costs in it; None if it cannot be counted."""
    splits = assembly.splits
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(assembly.config.seed, "weights"))
        module = assembly.host().module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return parameters, forward_cost(module.to(splits.train.inputs.device), splits.train.inputs[0], ())


def missing(found: Sequence[Control], finals: Sequence[FinalReport]) -> Iterator[str]:
    """Yield why hosts have no control, where that is not told elsewhere."""
    known = {control.host for control in found}
    for final in finals:
        if _comparable(final) and final.host not in known:
            yield f"{final.host} has no control of equal compute: its floating-point operations cannot be counted"


def _comparable(final: FinalReport) -> bool:
    return bool(final.seeds) and final.failure is None and isfinite(final.test.loss)
