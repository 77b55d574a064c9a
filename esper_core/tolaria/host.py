"""A growing host: a network with its slots, optimizer, data, random streams and governor.

It takes an action and gives back evidence. Only Leyline records cross its border, so it may live in another process.
"""

from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from attrs import evolve, field, frozen

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.seed_factory import Modules, SeedFactory
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.undisturbed import seed_random_state
from esper_core.leyline.actions import Action, GovernorMode
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.diagnostics import Diagnostic, Finding, NetworkView
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.protocols import Evaluator, Gate, HostBuild, Splits, Task
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.leyline.specs import Capability
from esper_core.leyline.stages import GateLevel
from esper_core.leyline.streams import derive_seed
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.diagnosing import examine
from esper_core.tolaria.flops import FlopsMeter
from esper_core.tolaria.governor import Governor, GovernorRules
from esper_core.tolaria.grower import Grower
from esper_core.tolaria.lr_schedule import LearningRateSchedule, build_optimizer
from esper_core.tolaria.measuring import measure
from esper_core.tolaria.numerics import Numerics
from esper_core.tolaria.state import capture, capture_present, restore, rollback, sound
from esper_core.tolaria.training import train_epoch


@frozen(kw_only=True)
class HostPlan:
    """Everything a growing host is made of.

    Attributes:
        name: its name in the run.
        build: makes the network; called once, under the host's own random stream.
        task, splits: what it learns from.
        seed_factories: what can be germinated, by name, in catalogue order.
        gates: the gate set.
        lifecycle: durations and switches of seeds.
        limits: how far the host may grow.
        optimizer: optimizer and learning rates.
        epochs, batch_size: of the training.
        flops: the training is over with the epoch in which the host has spent as many floating-point operations, and
            its schedule follows them; None: without such a budget.
        seed: of initial weights, data order, and everything else that is random.
        data_seed: of the data order, where it is not `seed`: hosts with the same one see the same batches.
        evaluators: vote on the host, by name.
        governor: what follows from their votes.
        capabilities: of the network's descriptor; those of the build add to them.
        diagnostics: look into the network after each epoch, by name.
        numerics: makes what computes the steps.
        modules: makes what the modules of seeds come from; None: they come from their blueprints.
    """

    name: str
    build: Callable[[], HostBuild]
    task: Task
    splits: Splits
    seed_factories: Mapping[str, SeedFactory]
    gates: Mapping[GateLevel, Gate]
    lifecycle: LifecycleConfig
    limits: GrowthLimits
    optimizer: OptimizerConfig
    epochs: int
    batch_size: int
    seed: int
    evaluators: Mapping[str, Evaluator] = field(factory=dict)
    governor: GovernorRules = field(factory=GovernorRules)
    capabilities: frozenset[Capability] = frozenset()
    diagnostics: Mapping[str, Diagnostic] = field(factory=dict)
    numerics: Callable[[], Numerics] = Numerics
    data_seed: int | None = None
    modules: Callable[[SlotSet], Modules] | None = None
    flops: float | None = None

    @property
    def catalogue(self) -> Catalogue:
        """The blueprints that can be germinated."""
        return Catalogue(tuple(seed_factory.entry for seed_factory in self.seed_factories.values()))


class GrowingHost:
    """Trains one network epoch by epoch and lets seeds grow in it as it is told.

    Attributes:
        attempt: how often it was rolled back.
        snapshot: the last state that was found good; None where it is never rolled back, and before the first one.

    Raises:
        EsperError: E401, E402 if the network or one of its sites cannot be grown.
    """

    def __init__(self, plan: HostPlan) -> None:
        self.plan = plan
        self.attempt = 0
        self.snapshot: HostState | None = None
        self.train_seconds = 0.0
        self.measure_seconds = 0.0
        build = self._build()
        sample = plan.splits.train.inputs[: plan.batch_size]
        self.model = prepare_root(build.module.to(sample.device))
        self.sites = confirm_sites(self.model, build.sites, lambda model: model(sample))
        self.optimizer = build_optimizer(self.model, plan.optimizer)
        self.batches = BatchStream(plan.splits.train, plan.task, plan.batch_size, self._stream("data"))
        self.rates = LearningRateSchedule(plan.optimizer, self.optimizer, plan.epochs, self.batches.steps)
        growth = Growth(
            self.model,
            self.sites,
            self.optimizer,
            plan.seed_factories,
            plan.gates,
            plan.lifecycle,
            derive_seed(plan.seed, "seeds"),
            self.rates.seed_rate,
        )
        self.grower = Grower(
            plan.name,
            growth,
            Governor(plan.task.random_guess_loss, plan.evaluators, plan.governor),
            plan.limits,
            fixed_batch=Capability.FIXED_BATCH in plan.capabilities | build.capabilities,
        )
        self.numerics = plan.numerics()
        self.numerics.prepare(growth.slot_set)
        growth.planter.modules = None if plan.modules is None else plan.modules(growth.slot_set)
        self._flops = FlopsMeter(self.grower, plan.splits.train.inputs[0])

    @property
    def growth(self) -> Growth:
        """Its slots and seeds."""
        return self.grower.growth

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        return self.grower.apply(action)

    def report(self) -> HostReport:
        """Return how the host stands and what came of the epoch that has just run. Asking again gives the same."""
        return evolve(self.grower.report(), budget_share=self._share)

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Let time pass, train one epoch and measure. A stopped host does nothing, nor one whose epochs are over.

        Nothing more happens in an epoch after whose end the host is rolled back.

        Args:
            reference: the twin's evidence for the same epoch.
        """
        if self.grower.stopped or self.grower.epoch >= self.plan.epochs or self._spent():
            kept = evolve(self.report(), evidence=None, transitions=(), findings=(), notices=())
            return evolve(kept, seed_reports=(), rollback=None)
        self.grower.tick()
        cost, budget = self._flops.training(len(self.plan.splits.train.targets), self.plan.batch_size), self.plan.flops
        if budget is not None:
            self.rates.begin(self.growth, self.grower.epoch, self._share or 0.0, (cost.total or 0) / budget)
        trained = self._train(self.grower.epoch)
        self.grower.compute = self.grower.compute.plus(cost)
        evidence = self._measure(trained, reference)
        self.grower.findings = self._examine()
        modules = self.growth.planter.modules
        self.grower.notices = (*self.numerics.notices(), *(() if modules is None else modules.events()))
        self.grower.conclude(evidence)
        self._secure()
        return self.report()

    def finish(self) -> FinalReport:
        """Measure the test split and sum up. Seeds that are still live stay in the network as they stand."""
        test = measure(
            self.growth.slot_set,
            self.plan.task,
            self.plan.splits.test,
            batch_size=self._measured_batch,
            forks=self.grower.forks,
        ).metrics
        final = self.grower.final_report(
            test,
            forward_flops=self._flops.forward,
            train_seconds=self.train_seconds,
            measure_seconds=self.measure_seconds,
        )
        return evolve(final, numerics=self.numerics.summary())

    def begin_attempt(self, attempt: int) -> None:
        """Draw all random numbers from the streams of this attempt; a rollback begins the next one, 0 is the first."""
        self.attempt = attempt
        self.batches.seed = self._stream("data")
        self.growth.planter.seed = self._stream("seeds")

    def capture(self) -> HostState:
        """Return the host's state as of now, between two epochs; see `tolaria.state`."""
        return capture(self)

    def restore(self, state: HostState) -> None:
        """Bring the host to a captured state. Raises EsperError E502 if the state does not fit it."""
        restore(self, state)

    def _secure(self) -> None:
        """Keep the state that has just been found good; go back to the one that was kept if this one is lost."""
        governor = self.grower.governor
        if governor.mode is not GovernorMode.STOPPED and not sound(self):
            governor.stop("a parameter or the optimizer's state is not finite")
        if governor.may_roll_back and self.snapshot is not None:
            rollback(self, self.snapshot, governor.reason)
        elif governor.mode is GovernorMode.NORMAL and self.plan.governor.max_rollbacks:
            self.snapshot = capture_present(self)
        if self.plan.flops is not None and self._share is None:
            governor.stop("its floating-point operations cannot be counted, so that their budget cannot be kept")

    @property
    def _share(self) -> float | None:
        """How much of its budget it has spent, from 0 to 1 and over; None without one, and where nothing is known."""
        total, budget = self.grower.compute.total, self.plan.flops
        return None if total is None or budget is None else total / budget

    def _spent(self, ahead: int = 0) -> bool:
        total, budget = self.grower.compute.total, self.plan.flops
        return None not in (total, budget) and (total or 0) + ahead >= (budget or 0.0)

    def _stream(self, *names: str | int) -> int:
        """The seed of a stream in the present attempt."""
        attempt = ("attempt", self.attempt) if self.attempt else ()
        shared = self.plan.data_seed if names == ("data",) else None
        return derive_seed(self.plan.seed if shared is None else shared, *attempt, *names)

    def _build(self) -> HostBuild:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.plan.seed, "weights"))
            return self.plan.build()

    def _train(self, epoch: int) -> EpochMetrics:
        # The host's own random numbers (dropout) come from a stream of the epoch's, untouched by seeds or other hosts.
        with torch.random.fork_rng(devices=[]):
            seed_random_state(self._stream("host", epoch), self.plan.splits.train.inputs.device)
            trained = train_epoch(
                self.growth,
                self.optimizer,
                self.rates,
                self.plan.task,
                self.batches.epoch(epoch),
                self.grower.gradients,
                epoch=epoch,
                steps=self.batches.steps,
                clip_norm=self.plan.optimizer.clip_norm,
                numerics=self.numerics,
            )
        self.train_seconds += trained.seconds
        return trained

    def _measure(self, trained: EpochMetrics, reference: Evidence | None) -> Evidence:
        began = perf_counter()
        evaluation = len(self.plan.splits.validation.targets) * (self._flops.forward or 0)
        last = self.grower.epoch + 1 == self.plan.epochs or self._spent(evaluation)
        collected = self.grower.collect(
            self.plan.task,
            self.plan.splits.validation,
            last=last,
            reference=reference,
            batch_size=self._measured_batch,
        )
        self._flops.measured(collected)
        self.measure_seconds += perf_counter() - began
        if self._spent() and not last:  # by counterfactuals: only now is it known that it was the last epoch
            return self._measure(trained, reference)
        return self.grower.evidence(trained, collected, forward_flops=self._flops.forward)

    def _examine(self) -> tuple[Finding, ...]:
        if not self.plan.diagnostics:
            return ()
        began = perf_counter()
        size, split = self.plan.batch_size, self.plan.splits.validation
        view = NetworkView(
            host=self.plan.name,
            epoch=self.grower.epoch,
            model=self.model,
            slots=self.growth.states(self.grower.epoch),
            inputs=split.inputs[:size],
            targets=split.targets[:size],
            criterion=self.plan.task,
        )
        findings = examine(self.plan.diagnostics, view, self.plan.seed)
        self.measure_seconds += perf_counter() - began
        return findings

    @property
    def _measured_batch(self) -> int | None:
        """A host that depends on its batch is measured on batches like those that it is trained on."""
        return self.plan.batch_size if self.grower.forks.fixed_batch else None
