"""What grows in a host, apart from its data: seeds, governor, what is possible, and the count of its epochs."""

from collections.abc import Mapping
from functools import cache, partial
from math import isfinite
from typing import Any

from attrs import evolve

from esper_core.kasmina.cost import SeedCost, parameter_count, seed_cost
from esper_core.kasmina.gated import Share
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.serialization import growth_record, restore_growth
from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Transition
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.diagnostics import Finding
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Compute, EpochMetrics, Evidence
from esper_core.leyline.protocols import Criterion, Split
from esper_core.leyline.records import plain
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Cause
from esper_core.leyline.structure import structure
from esper_core.tamiyo.masks import GrowthLimits, Sizes, action_masks
from esper_core.tolaria.data import Samples
from esper_core.tolaria.evidence import CollectedEvidence, collect_evidence
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.governor import Governor
from esper_core.tolaria.topology import topology
from esper_core.tolaria.training import GradientWatch


class Grower:
    """The growing part of a host, in any training loop. One epoch is: `apply`, `tick`, training, `collect`, `conclude`.

    Args:
        name: the host's name in the run.
        growth: its slots and seeds.
        governor: the authority over it.
        limits: how far it may grow.
        fixed_batch: the host depends on its batch, so that no measurement may add to it.

    Attributes:
        epoch: the epoch that is trained next, or is being trained, from 0.
        findings: of diagnostics after the epoch that has just run; whatever asks them sets it.
        notices: what a person should know of that epoch, and events; whatever trains the host sets it.
        measured, transitions: in the epoch that has just run.
        compute: floating-point operations so far; whatever trains the host adds to it.
        seed_cost, share_cost: what a blueprint's seed, and the share of a gated one, cost at a site.
        gradients: of every seed in the present epoch; the training loop lets it look at them.
    """

    def __init__(
        self, name: str, growth: Growth, governor: Governor, limits: GrowthLimits, *, fixed_batch: bool = False
    ) -> None:
        self.name = name
        self.growth = growth
        self.governor = governor
        self.forks = ForkMap(fixed_batch=fixed_batch)
        self.epoch = 0
        self.gradients = GradientWatch(growth)
        self.catalogue = Catalogue(tuple(seed_factory.entry for seed_factory in growth.seed_factories.values()))
        self._limits = limits
        self._sizes = Sizes(
            host_parameters=sum(parameter.numel() for parameter in growth.slot_set.host_parameters),
            seed_parameters=lambda site, name: self.seed_cost(site, name).parameters,
            share_parameters=lambda site: self.share_cost(site).parameters,
        )
        self.seed_cost = cache(self._seed_cost)
        self.share_cost = cache(lambda site: seed_cost(Share, site))
        self.compute = Compute()
        self.findings: tuple[Finding, ...] = ()
        self.notices: tuple[str | Event, ...] = ()
        self.measured: Evidence | None = None
        self.transitions: tuple[Transition, ...] = ()

    @property
    def stopped(self) -> bool:
        """The governor has stopped the host."""
        return self.governor.mode is GovernorMode.STOPPED

    def masks(self) -> ActionMasks:
        """What is possible before the next epoch, and no embargo of the governor's forbids."""
        masks = action_masks(
            self.growth.states(self.epoch),
            self.catalogue,
            governor=self.governor.mode,
            limits=self._limits,
            sizes=self._sizes,
        )
        embargoed = self.governor.memory.embargoed
        allowed = {slot: names.difference(embargoed.get(slot, ())) for slot, names in masks.germinate.items()}
        return evolve(masks, germinate={slot: names for slot, names in allowed.items() if names})

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        verdict = self.governor.review(action, self.masks())
        transitions = _execute(self.growth, action, self.epoch) if verdict.allowed else ()
        self._watch(transitions)
        return ApplyReport(verdict=verdict, transitions=transitions)

    def tick(self) -> None:
        """Let time pass: what happens by itself before the epoch is trained."""
        self.transitions = tuple(self.growth.tick(self.epoch))
        self.gradients = GradientWatch(self.growth)

    def collect(
        self,
        criterion: Criterion,
        split: Split | Samples,
        *,
        last: bool,
        reference: Evidence | None = None,
        batch_size: int | None = None,
    ) -> CollectedEvidence:
        """Measure the network and its seeds on validation data, after the epoch was trained.

        Args:
            criterion: loss and metric of a sample.
            split: validation data.
            last: it was the last epoch: fossilized seeds are measured too, for the reports.
            reference: the twin's evidence for the same epoch.
            batch_size: samples per batch; see `measure`.
        """
        return collect_evidence(
            self.growth,
            criterion,
            split,
            self.forks,
            epoch=self.epoch,
            fossils=last,
            gradients=self.gradients.read(),
            twin_losses=reference.validation.sample_losses if reference is not None else None,
            batch_size=batch_size,
        )

    def evidence(
        self, train: EpochMetrics, collected: CollectedEvidence, *, forward_flops: int | None = None
    ) -> Evidence:
        """Return all that was measured in the epoch; the gates are asked in `conclude`."""
        optimizer = self.growth.slot_set.optimizer
        return Evidence(
            host=self.name,
            epoch=self.epoch,
            train=train,
            validation=collected.metrics,
            seeds=collected.seeds,
            parameters=parameter_count(self.growth.slot_set.model),
            host_parameters=self._sizes.host_parameters,
            forward_flops=forward_flops,
            learning_rate=float(optimizer.param_groups[0]["lr"]),
            compute=self.compute,
        )

    def conclude(self, evidence: Evidence) -> HostReport:
        """Judge the seeds on what was measured, cull those that have failed, ask the governor, and end the epoch."""
        accuracy = evidence.validation.accuracy
        gates = self.growth.judge(evidence.seeds, accuracy if isfinite(accuracy) else None)
        self.measured = evolve(evidence, gates=gates)
        self.transitions = (*self.transitions, *self.growth.cull_failed(self.epoch))
        self._watch(self.transitions)
        self.governor.observe(self.measured)
        self.epoch += 1
        return self.report()

    def report(self) -> HostReport:
        """Return how the host stands and what came of the epoch that has just run. Asking again gives the same."""
        return HostReport(
            host=self.name,
            epoch=self.epoch,
            states=self.growth.states(self.epoch),
            masks=self.masks(),
            governor=self.governor.mode,
            governor_reason=self.governor.reason,
            evidence=self.measured,
            transitions=self.transitions,
            findings=self.findings,
            notices=self.notices,
            seed_reports=tuple(r for r in self.growth.reports if r.ended_epoch == self.epoch - 1),
            parameters=parameter_count(self.growth.slot_set.model),
            host_parameters=self._sizes.host_parameters,
            rollback=next((it for it in self.governor.memory.rollbacks if it.from_epoch == self.epoch - 1), None),
        )

    def final_report(
        self, test: EpochMetrics, *, forward_flops: int | None, train_seconds: float, measure_seconds: float
    ) -> FinalReport:
        """Sum the host up; `test` are the metrics on the test split. Live seeds stay in the network as they stand."""
        return FinalReport(
            host=self.name,
            epochs=self.epoch,
            test=test,
            parameters=parameter_count(self.growth.slot_set.model),
            host_parameters=self._sizes.host_parameters,
            forward_flops=forward_flops,
            compute=self.compute,
            train_seconds=train_seconds,
            measure_seconds=measure_seconds,
            seeds=tuple(self.growth.final_reports(self.epoch)),
            topology=topology(self.growth),
            rollbacks=tuple(self.governor.memory.rollbacks),
        )

    def record(self) -> dict[str, Any]:
        """Return everything about it that is not a tensor, as plain data."""
        return {
            "epoch": self.epoch,
            "growth": growth_record(self.growth),
            "compute": plain(self.compute),
            "transitions": plain(self.transitions),
            "governor": self.governor.record(),
        }

    def restore(self, record: Mapping[str, Any]) -> None:
        """Bring it to a recorded state: topology first; weights and the optimizer's state are loaded afterwards.

        Raises:
            EsperError: E502 if the state does not fit the host.
        """
        epoch, compute = structure(int, record["epoch"]), structure(Compute, dict(record["compute"]))
        transitions = tuple(structure(Transition, dict(saved)) for saved in record.get("transitions", ()))
        self.governor.restore(record["governor"])
        restore_growth(self.growth, record["growth"])
        self.epoch, self.compute, self.transitions = epoch, compute, transitions
        self.gradients = GradientWatch(self.growth)
        self.measured, self.findings, self.notices = None, (), ()
        self.growth.set_alphas(self.epoch, 0.0)

    def _seed_cost(self, site: Site, name: str) -> SeedCost:
        seed_factory = self.growth.seed_factories[name]
        return seed_cost(partial(seed_factory.build_in, self.growth.slot_set.model), site, fed=seed_factory.takes_input)

    def _watch(self, transitions: tuple[Transition, ...]) -> None:
        if any(change.cause is not Cause.COOLDOWN for change in transitions):
            self.governor.memory.changed_epoch = self.epoch


def _execute(growth: Growth, action: Action, epoch: int) -> tuple[Transition, ...]:
    """Do what an action asks for, before `epoch` is trained; the governor lets no impossible one through."""
    slot, why = action.slot, action.reason
    if action.op is Op.WAIT or slot is None:
        return ()
    if action.op is Op.CULL:
        return (growth.cull(slot, epoch, action_id=action.id, reason=why),)
    if action.op is Op.FOSSILIZE:
        return (growth.fossilize(slot, epoch, action_id=action.id, reason=why),)
    assert action.blueprint is not None
    assert action.blend is not None
    blueprint, blend, ramp = action.blueprint, action.blend, action.ramp_epochs
    return (growth.germinate(slot, blueprint, blend, epoch, ramp_epochs=ramp, action_id=action.id, reason=why),)
