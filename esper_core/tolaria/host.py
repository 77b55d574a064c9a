"""A growing host: a network with its slots, optimizer, data, random streams and governor.

It takes an action and gives back evidence. Only Leyline records cross its border, so it may live in another process.
"""

from collections.abc import Callable, Mapping
from functools import cache
from time import perf_counter

import torch
from attrs import evolve, frozen

from esper_core.kasmina.compose import Regime
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.cost import forward_flops, parameter_count, seed_cost
from esper_core.kasmina.gated import Share
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.recipes import Recipe
from esper_core.kasmina.roots import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.actions import Action, ActionMasks, GovernorMode
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.protocols import Gate, HostBuild, Splits, Task
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport
from esper_core.leyline.specs import Capability
from esper_core.leyline.stages import GateLevel
from esper_core.leyline.streams import derive_seed
from esper_core.tamiyo.masks import GrowthLimits, Sizes, action_masks
from esper_core.tolaria.acting import execute
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.gathering import gather
from esper_core.tolaria.governor import Governor
from esper_core.tolaria.measuring import measure
from esper_core.tolaria.rates import LearningRates, build_optimizer
from esper_core.tolaria.training import TrainedEpoch, train_epoch


@frozen(kw_only=True)
class HostPlan:
    """Everything a growing host is made of.

    Attributes:
        name: its name in the run.
        build: makes the network; called once, under the host's own random stream.
        task, splits: what it learns from.
        recipes: what can be germinated, by name, in catalogue order.
        gates: the gate set.
        lifecycle: durations and switches of seeds.
        limits: how far the host may grow.
        optimizer: optimizer and learning rates.
        epochs, batch_size: of the training.
        seed: of initial weights, data order, and everything else that is random. Hosts of a round share it.
        capabilities: of the network's descriptor; those of the build add to them.
    """

    name: str
    build: Callable[[], HostBuild]
    task: Task
    splits: Splits
    recipes: Mapping[str, Recipe]
    gates: Mapping[GateLevel, Gate]
    lifecycle: LifecycleConfig
    limits: GrowthLimits
    optimizer: OptimizerConfig
    epochs: int
    batch_size: int
    seed: int
    capabilities: frozenset[Capability] = frozenset()

    @property
    def catalogue(self) -> Catalogue:
        """The blueprints that can be germinated."""
        return Catalogue(tuple(recipe.entry for recipe in self.recipes.values()))


class GrowingHost:
    """Trains one network epoch by epoch and lets seeds grow in it as it is told.

    Raises:
        EsperError: E401, E402 if the network or one of its sites cannot be grown.
    """

    def __init__(self, plan: HostPlan) -> None:
        self.plan = plan
        self.epoch_index = 0
        self.train_seconds = 0.0
        self.measure_seconds = 0.0
        build = self._build()
        sample = plan.splits.train.inputs[: plan.batch_size]
        self.model = prepare_root(build.module.to(sample.device))
        self.sites = confirm_sites(self.model, build.sites, lambda model: model(sample))
        self.optimizer = build_optimizer(self.model.parameters(), plan.optimizer)
        self.batches = BatchStream(plan.splits.train, plan.task, plan.batch_size, derive_seed(plan.seed, "data"))
        self.rates = LearningRates(plan.optimizer, self.optimizer, plan.epochs, self.batches.steps)
        self.growth = Growth(
            self.model,
            self.sites,
            self.optimizer,
            plan.recipes,
            plan.gates,
            plan.lifecycle,
            derive_seed(plan.seed, "seeds"),
            self.rates.seed_rate,
        )
        self.governor = Governor(plan.task.random_guess_loss)
        self.forks = ForkMap(fixed_batch=Capability.FIXED_BATCH in plan.capabilities | build.capabilities)
        self._reported = 0
        self._flops: tuple[tuple[tuple[str, Regime], ...], int | None] | None = None
        self._host_parameters = parameter_count(self.model)
        self._seed_parameters = cache(lambda site, name: seed_cost(plan.recipes[name].build, site).parameters)
        self._share_parameters = cache(lambda site: seed_cost(Share, site).parameters)

    def masks(self) -> ActionMasks:
        """What is possible before the next epoch."""
        return action_masks(
            self.growth.states(self.epoch_index),
            self.plan.catalogue,
            governor=self.governor.mode,
            limits=self.plan.limits,
            sizes=Sizes(
                host_parameters=self._host_parameters,
                seed_parameters=self._seed_parameters,
                share_parameters=self._share_parameters,
            ),
        )

    def apply(self, action: Action) -> ApplyReport:
        """Let the governor review the action, and execute it if allowed."""
        verdict = self.governor.review(action, self.masks())
        transitions = execute(self.growth, action, self.epoch_index) if verdict.allowed else ()
        return ApplyReport(verdict=verdict, transitions=transitions)

    def report(self) -> HostReport:
        """The host as it stands, without evidence."""
        reports = tuple(self.growth.reports[self._reported :])
        self._reported = len(self.growth.reports)
        return HostReport(
            host=self.plan.name,
            epoch=self.epoch_index,
            states=self.growth.states(self.epoch_index),
            masks=self.masks(),
            governor=self.governor.mode,
            governor_reason=self.governor.reason,
            seed_reports=reports,
            parameters=parameter_count(self.model),
            host_parameters=self._host_parameters,
        )

    def forget_reported(self) -> None:
        """Count every seed report so far as reported; for `state.restore`."""
        self._reported = len(self.growth.reports)

    def epoch(self, reference: Evidence | None = None) -> HostReport:
        """Let time pass, train one epoch and measure. A stopped host does nothing.

        Args:
            reference: the twin's evidence for the same epoch.
        """
        if self.governor.mode is GovernorMode.STOPPED:
            return self.report()
        epoch = self.epoch_index
        transitions = self.growth.tick(epoch)
        trained = self._train(epoch)
        evidence = self._measure(epoch, trained, reference)
        evidence = evolve(evidence, gates=self.growth.judge(evidence.seeds, evidence.validation.accuracy))
        self.governor.observe(evidence.train, evidence.validation)
        self.epoch_index += 1
        return evolve(self.report(), evidence=evidence, transitions=tuple(transitions))

    def finish(self) -> FinalReport:
        """Measure the test split and sum up. Seeds that are still live stay in the network as they stand."""
        test = measure(
            self.growth.bed, self.plan.task, self.plan.splits.test, batch_size=self._measured_batch, forks=self.forks
        ).metrics
        return FinalReport(
            host=self.plan.name,
            epochs=self.epoch_index,
            test=test,
            parameters=parameter_count(self.model),
            host_parameters=self._host_parameters,
            forward_flops=self._forward_flops(),
            train_seconds=self.train_seconds,
            measure_seconds=self.measure_seconds,
            seeds=tuple(self.growth.final_reports(self.epoch_index)),
            topology=tuple(self._topology()),
        )

    def _build(self) -> HostBuild:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.plan.seed, "weights"))
            return self.plan.build()

    def _train(self, epoch: int) -> TrainedEpoch:
        # The host's own random numbers (dropout) come from a stream of the epoch's, untouched by seeds or other hosts.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.plan.seed, "host", epoch))
            trained = train_epoch(
                self.growth,
                self.optimizer,
                self.rates,
                self.plan.task,
                self.batches.epoch(epoch),
                epoch=epoch,
                steps=self.batches.steps,
                clip_norm=self.plan.optimizer.clip_norm,
            )
        self.train_seconds += trained.metrics.seconds
        return trained

    def _measure(self, epoch: int, trained: TrainedEpoch, reference: Evidence | None) -> Evidence:
        began = perf_counter()
        gathered = gather(
            self.growth,
            self.plan.task,
            self.plan.splits.validation,
            self.forks,
            epoch=epoch,
            fossils=epoch + 1 == self.plan.epochs,
            gradients=trained.gradients,
            twin_losses=reference.validation.sample_losses if reference is not None else None,
            batch_size=self._measured_batch,
        )
        flops = self._forward_flops()
        self.measure_seconds += perf_counter() - began
        return Evidence(
            host=self.plan.name,
            epoch=epoch,
            train=trained.metrics,
            validation=gathered.metrics,
            seeds=gathered.seeds,
            parameters=parameter_count(self.model),
            host_parameters=self._host_parameters,
            forward_flops=flops,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
        )

    @property
    def _measured_batch(self) -> int | None:
        """A host that depends on its batch is measured on batches like those that it is trained on."""
        return self.plan.batch_size if self.forks.fixed_batch else None

    def _forward_flops(self) -> int | None:
        """Count anew only when something has changed that the forward pass notices."""
        seeds = self.growth.lives
        topology = tuple((seeds[slot].seed_id, held.regime) for slot, held in self.growth.bed.slots.items())
        if self._flops is None or self._flops[0] != topology:
            self._flops = topology, forward_flops(self.model, self.plan.splits.train.inputs[0])
        return self._flops[1]

    def _topology(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for site in self.sites:
            life = self.growth.lives.get(site.id)
            held = life is not None and life.stage.holds_module
            slot = self.growth.bed.slots.get(site.id)
            rows.append(
                {
                    "slot": site.id,
                    "path": site.path,
                    "layout": site.layout.value,
                    "width": site.width,
                    "stage": self.growth.stage(site.id).name,
                    "blueprint": life.blueprint if held and life is not None else None,
                    "options": dict(self.plan.recipes[life.blueprint].entry.options)
                    if held and life is not None
                    else {},
                    "blend": life.blend.value if held and life is not None else None,
                    # How a planted seed acts, which its stage alone does not tell.
                    "regime": slot.regime.value if slot is not None else None,
                    "alpha": slot.alpha.item() if slot is not None else None,
                }
            )
        return rows
