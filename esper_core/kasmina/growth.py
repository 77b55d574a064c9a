"""The growth of one host: germinate, tick, fossilize, cull. Every change of a seed goes through here."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from attrs import evolve
from torch import nn

from esper_core.kasmina.bed import SeedBed
from esper_core.kasmina.compose import Regime
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.gated import blended
from esper_core.kasmina.gatekeeper import GateKeeper
from esper_core.kasmina.lifecycle import Life
from esper_core.kasmina.readings import alpha_of, ramp_epochs, seed_evidence, slot_state
from esper_core.kasmina.recipes import LocalSource, ModuleSource, Recipe
from esper_core.leyline.actions import Action, Op, Transition
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.protocols import Gate
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Cause, GateLevel, Incubation, Stage
from esper_core.leyline.streams import derive_seed

#: How a seed in TRAINING acts, by the kind of incubation; without any it never is in TRAINING.
_INCUBATED = {Incubation.STE: Regime.STRAIGHT_THROUGH, Incubation.PROBE: Regime.PROBE}


class Growth:
    """The slots of one host and the lives of their seeds.

    Time passes in `tick` only, once per host epoch. Every method that changes a stage returns the transitions.

    Args:
        model: the root, prepared by `roots.prepare_root`.
        sites: its confirmed sites, in execution order.
        optimizer: trains the host; seeds bring groups of their own.
        recipes: what can be germinated, by blueprint name, in catalogue order.
        gates: the run's gate set.
        config: durations and switches.
        seed: of all random streams of this host's seeds.
        seed_learning_rate: what a new seed's optimizer group starts with.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        optimizer: torch.optim.Optimizer,
        recipes: Mapping[str, Recipe],
        gates: Mapping[GateLevel, Gate],
        config: LifecycleConfig,
        seed: int,
        seed_learning_rate: float,
    ) -> None:
        self.bed = SeedBed(model, sites, optimizer)
        self.recipes = dict(recipes)
        self.gatekeeper = GateKeeper(gates)
        self.config = config
        self.seed = seed
        self.seed_learning_rate = seed_learning_rate
        self.lives: dict[str, Life] = {}
        self.reports: list[FieldReport] = []
        self.culled: dict[str, tuple[str, ...]] = {site.id: () for site in sites}
        self.germinations = {site.id: 0 for site in sites}
        self._sources: dict[str, ModuleSource] = {}
        self.accuracy: float | None = None

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites in execution order."""
        return tuple(self.bed.sites.values())

    def stage(self, slot: str) -> Stage:
        """The stage of a slot."""
        life = self.lives.get(slot)
        return Stage.DORMANT if life is None else life.stage

    def apply(self, action: Action, epoch: int) -> tuple[Transition, ...]:
        """Do what an action asks for, before `epoch` is trained, and return the transitions that it made.

        Raises:
            EsperError: E403, E404 for an action that is impossible; the governor does not let one through.
        """
        if action.op is Op.WAIT or action.slot is None:
            return ()
        if action.op is not Op.GERMINATE:
            end = self.cull if action.op is Op.CULL else self.fossilize
            return (end(action.slot, epoch, action_id=action.id, reason=action.reason),)
        assert action.blueprint is not None
        assert action.blend is not None
        transition = self.germinate(
            action.slot,
            action.blueprint,
            action.blend,
            epoch,
            ramp_epochs=action.ramp_epochs,
            action_id=action.id,
            reason=action.reason,
        )
        return (transition,)

    def germinate(
        self,
        slot: str,
        blueprint: str,
        blend: Blend,
        epoch: int,
        *,
        ramp_epochs: int | None = None,
        action_id: str | None = None,
        reason: str = "",
    ) -> Transition:
        """Begin a seed in a dormant slot; `ramp_epochs` is the length of its ramp if not the lifecycle's.

        Raises:
            EsperError: E403 if the slot is not dormant, E404 if the blueprint is not known or does not fit.
        """
        self._check_fit(blueprint, self._site(slot))
        if (stage := self.stage(slot)) is not Stage.DORMANT:
            raise EsperError("E403", f'slot "{slot}" is {stage.name}; only a dormant slot can be germinated')
        number = self.germinations[slot]
        self.germinations[slot] = number + 1
        life = Life(
            slot=slot,
            seed_id=f"{slot}-{number}",
            blueprint=blueprint,
            blend=blend,
            ramp_epochs=ramp_epochs,
            germinated_epoch=epoch,
            accuracy_at_germination=self.accuracy,
        )
        self.lives[slot] = life
        return life.move(Stage.GERMINATED, epoch, Cause.ACTION, reason=reason, action_id=action_id)

    def cull(
        self, slot: str, epoch: int, cause: Cause = Cause.ACTION, *, action_id: str | None = None, reason: str = ""
    ) -> Transition:
        """End a live seed. It takes its tensors and optimizer state with it.

        Raises:
            EsperError: E403 if the slot holds no live seed.
        """
        life = self._life(slot)
        transition = life.move(Stage.CULLED, epoch, cause, reason=reason, action_id=action_id)
        self.uproot(slot)
        self.culled[slot] = (*self.culled[slot], life.blueprint)
        self.reports.append(life.report(epoch, accuracy=self.accuracy))
        return transition

    def fossilize(self, slot: str, epoch: int, *, action_id: str | None = None, reason: str = "") -> Transition:
        """Make a probationary seed that has passed G5 a permanent part of the host.

        Raises:
            EsperError: E403 if it is not probationary or G5 has not passed often enough in a row.
        """
        life = self._life(slot)
        standing = self.gatekeeper.standing(slot, Stage.PROBATIONARY)
        gates = () if standing is None or not standing.passed else (standing.result,)
        transition = life.move(Stage.FOSSILIZED, epoch, Cause.ACTION, reason=reason, action_id=action_id, gates=gates)
        self.bed.slots[slot].enter(Regime.FOSSIL)
        self.gatekeeper.forget(slot)
        self.reports.append(life.report(epoch, accuracy=self.accuracy))
        return transition

    def tick(self, epoch: int) -> list[Transition]:
        """Let time pass: everything that happens by itself before `epoch` is trained."""
        transitions: list[Transition] = []
        for slot in [name for name in self.bed.sites if name in self.lives]:
            transitions += self._advance(slot, epoch)
        self.set_alphas(epoch, 0.0)
        return transitions

    def set_alphas(self, epoch: int, fraction: float) -> None:
        """Set the alpha of every blended seed for the point `fraction` (0 to 1) of the way through `epoch`."""
        for slot, life in self.lives.items():
            if life.stage.contributes:
                self.bed.slots[slot].set_alpha(alpha_of(life, self.config, epoch + fraction))

    def set_position(self, step: int) -> None:
        """Tell seeds that draw random numbers which optimizer step this is."""
        for held in self.bed.slots.values():
            held.position = step

    def judge(self, evidence: Iterable[SeedEvidence], accuracy: float | None) -> dict[str, tuple[GateResult, ...]]:
        """Ask the gate in front of every seed's next stage; `accuracy` is the network's, on validation data."""
        self.accuracy = accuracy
        verdicts: dict[str, tuple[GateResult, ...]] = {}
        for seed in evidence:
            life = self._life(seed.slot)
            life.ablation = seed.contribution if seed.contribution is not None else life.ablation
            life.gain = seed.host_gain if seed.host_gain is not None else life.gain
            result = self.gatekeeper.judge(seed)
            if result is not None:
                verdicts[seed.slot] = (result,)
        return verdicts

    def evidence(self, epoch: int) -> tuple[SeedEvidence, ...]:
        """What is known of every seed without measuring, after `epoch` was trained; in site order."""
        return tuple(
            seed_evidence(life, self.config, epoch + 1, planted=slot in self.bed.slots)
            for slot in self.bed.sites
            if (life := self.lives.get(slot)) is not None and life.stage.holds_module
        )

    def states(self, epoch: int) -> tuple[SlotState, ...]:
        """Every slot as it stands before `epoch`, in site order."""
        return tuple(
            slot_state(
                site,
                life := self.lives.get(site.id),
                None if life is None else self.gatekeeper.standing(site.id, life.stage),
                self.culled[site.id],
                self.config,
                epoch,
            )
            for site in self.sites
        )

    def final_reports(self, epoch: int) -> list[FieldReport]:
        """Field reports of every seed that ever lived, in order of birth.

        What is in the network now is reported as it was last measured, not as it was when it was fossilized.
        """
        gone = [report for report in self.reports if report.final_stage is Stage.CULLED]
        present = [
            life.report(epoch, accuracy=self.accuracy) for life in self.lives.values() if life.stage.holds_module
        ]
        return sorted([*gone, *present], key=lambda report: (report.germinated_epoch, report.slot))

    def _advance(self, slot: str, epoch: int) -> list[Transition]:
        life = self.lives[slot]
        if life.stage is Stage.GERMINATED:
            return self._sprout(slot, life, epoch)
        if life.stage.live:
            return self._follow_verdict(slot, life, epoch)
        if life.stage is Stage.FOSSILIZED:
            return []
        return self._cool_down(slot, life, epoch)

    def _sprout(self, slot: str, life: Life, epoch: int) -> list[Transition]:
        """GERMINATED: take the module in when its source delivers it, then ask G0 and G1."""
        source_error, probe_error = self.take_in(slot)
        known = evolve(
            seed_evidence(life, self.config, epoch, planted=slot in self.bed.slots),
            source_error=source_error,
            probe_error=probe_error,
            finite=not probe_error,
        )
        if not (known.ready or source_error or probe_error):
            return self._wait(slot, life, epoch, self.config.training_timeout_epochs, "its module never came")
        g0 = self.gatekeeper.ask(GateLevel.G0, known)
        # A gate set may be lenient; what is not there cannot be let through.
        missing = source_error or probe_error or ""
        if missing or not g0.passed:
            return [self.cull(slot, epoch, Cause.GATE, reason=missing if g0.passed else g0.reason)]
        g1 = self.gatekeeper.ask(GateLevel.G1, known)
        if not g1.passed:
            return self._wait(slot, life, epoch, self.config.training_timeout_epochs, g1.reason)
        held = self.bed.attach(self._site(slot))
        if (regime := _INCUBATED.get(self.config.incubation)) is not None:
            held.enter(regime)
            return [life.move(Stage.TRAINING, epoch, Cause.GATE, reason=g1.reason, gates=(g0, g1))]
        return [self._begin_blending(slot, life, epoch, (g0, g1))]

    def take_in(self, slot: str) -> tuple[str | None, str | None]:
        """Plant the module of a slot's seed, if its source has it.

        Returns:
            What is wrong with the source, and what is wrong with the module ("" is nothing); None is not known yet.
        """
        if slot in self.bed.slots:
            return None, ""
        life = self.lives[slot]
        try:
            module = self._source(slot, life).poll()
        except (
            Exception
        ) as error:  # a source fails in ways that only its blueprint knows: its seed bears it, not the run
            return f"{type(error).__name__}: {error}", None
        if module is None:
            return None, None
        problem = self.bed.plant(
            self._site(slot),
            life.seed_id,
            module,
            derive_seed(self.seed, life.seed_id),
            random=self.recipes[life.blueprint].draws_random_numbers,
            masked=self.recipes[life.blueprint].takes_mask,
            learning_rate=self.seed_learning_rate,
        )
        life.parameters = sum(p.numel() for p in module.parameters())
        return None, problem

    def clear(self) -> None:
        """Take every module away, and forget what was to come; for `preserving.restore_growth`."""
        for slot in self.bed.slots:
            self.uproot(slot)
        self._sources.clear()

    def uproot(self, slot: str) -> None:
        """Take a slot's module away without a transition."""
        self.bed.uproot(self._site(slot), self._life(slot).seed_id)
        self._sources.pop(slot, None)
        self.gatekeeper.forget(slot)

    def _follow_verdict(self, slot: str, life: Life, epoch: int) -> list[Transition]:
        """TRAINING, BLENDING, PROBATIONARY: go on, give up, or wait."""
        standing = self.gatekeeper.standing(slot, life.stage)
        if standing is not None and standing.result.harmful:
            return [self.cull(slot, epoch, Cause.SAFETY, reason=standing.result.reason)]
        incubated = life.epochs_in_stage(epoch) >= self.config.incubation_epochs
        if standing is not None and standing.passed and life.stage is Stage.TRAINING and incubated:
            return [self._begin_blending(slot, life, epoch, (standing.result,))]
        if standing is not None and standing.passed and life.stage is Stage.BLENDING:
            return [
                life.move(
                    Stage.PROBATIONARY, epoch, Cause.GATE, reason=standing.result.reason, gates=(standing.result,)
                )
            ]
        why = standing.result.reason if standing is not None else "its gate was never asked"
        return self._wait(slot, life, epoch, self._patience(life), why)

    def _begin_blending(self, slot: str, life: Life, epoch: int, gates: tuple[GateResult, ...]) -> Transition:
        isolate = self.config.isolate
        if isolate is None:
            isolate = not self._site(slot).causal
        self.bed.slots[slot].enter(Regime.ISOLATED if isolate else Regime.OPEN)
        return life.move(Stage.BLENDING, epoch, Cause.GATE, reason=gates[-1].reason, gates=gates)

    def _cool_down(self, slot: str, life: Life, epoch: int) -> list[Transition]:
        """CULLED for one epoch, EMBARGOED as configured, RESETTING for one, then free."""
        waits = {Stage.CULLED: 1, Stage.EMBARGOED: self.config.embargo_epochs, Stage.RESETTING: 1}
        follows = {Stage.CULLED: Stage.EMBARGOED, Stage.EMBARGOED: Stage.RESETTING, Stage.RESETTING: Stage.DORMANT}
        if life.epochs_in_stage(epoch) < waits[life.stage]:
            return []
        transition = life.move(follows[life.stage], epoch, Cause.COOLDOWN)
        if life.stage is Stage.DORMANT:
            del self.lives[slot]
        return [transition]

    def _wait(self, slot: str, life: Life, epoch: int, patience: int, why: str) -> list[Transition]:
        if life.epochs_in_stage(epoch) < patience:
            return []
        reason = f"{life.stage.name} for {life.epochs_in_stage(epoch)} epochs: {why}"
        return [self.cull(slot, epoch, Cause.TIMEOUT, reason=reason)]

    def _patience(self, life: Life) -> int:
        if life.stage is Stage.TRAINING:
            return self.config.training_timeout_epochs
        if life.stage is Stage.BLENDING:
            return ramp_epochs(life, self.config) + self.config.blending_timeout_epochs
        return self.config.probation_timeout_epochs

    def _site(self, slot: str) -> Site:
        site = self.bed.sites.get(slot)
        if site is None:
            raise EsperError("E403", f'there is no slot "{slot}"', why=did_you_mean(slot, self.bed.sites))
        return site

    def _life(self, slot: str) -> Life:
        life = self.lives.get(slot)
        if life is None:
            raise EsperError("E403", f'slot "{slot}" is dormant: it holds no seed')
        return life

    def _source(self, slot: str, life: Life) -> ModuleSource:
        if slot not in self._sources:
            stream = derive_seed(self.seed, life.seed_id, "build")
            build = partial(blended, self.recipes[life.blueprint].build, blend=life.blend)
            self._sources[slot] = LocalSource(build, self._site(slot), stream)
        return self._sources[slot]

    def _check_fit(self, blueprint: str, site: Site) -> None:
        recipe = self.recipes.get(blueprint)
        if recipe is None:
            raise EsperError(
                "E404",
                f'blueprint "{blueprint}" is not in the catalogue',
                why=did_you_mean(blueprint, self.recipes),
                fix="name it in policy.blueprints",
            )
        if site.layout not in recipe.entry.layouts:
            fits = ", ".join(sorted(recipe.entry.layouts))
            raise EsperError("E404", f'blueprint "{blueprint}" fits {fits}, but site "{site.id}" is {site.layout}')
