"""The growth of one host: germinate, tick, fossilize, cull. Every change of a seed goes through here."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from attrs import evolve
from torch import nn

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.durations import alpha_of, bounded_too_long, cooldown, patience
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.gate_tracker import GateTracker
from esper_core.kasmina.lifecycle import Seed
from esper_core.kasmina.planting import Planter
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.kasmina.slot_set import SlotSet
from esper_core.kasmina.snapshots import seed_evidence, slot_state
from esper_core.leyline.actions import Transition
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.protocols import Gate
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Cause, GateLevel, Incubation, Stage

#: How a seed in TRAINING acts, by the kind of incubation; without any it never is in TRAINING.
_INCUBATED = {Incubation.STE: ForwardMode.STRAIGHT_THROUGH, Incubation.PROBE: ForwardMode.PROBE}


class Growth:
    """The slots of one host and the seeds of their seeds.

    Time passes in `tick` only, once per host epoch. Every method that changes a stage returns the transitions.

    Args:
        model: the root, prepared by `roots.prepare_root`.
        sites: its confirmed sites, in execution order.
        optimizer: trains the host; seeds bring groups of their own.
        seed_factories: what can be germinated, by blueprint name, in catalogue order.
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
        seed_factories: Mapping[str, SeedFactory],
        gates: Mapping[GateLevel, Gate],
        config: LifecycleConfig,
        seed: int,
        seed_learning_rate: float,
    ) -> None:
        self.slot_set = SlotSet(model, sites, optimizer, update_limit=config.update_limit)
        self.planter = Planter(self.slot_set, seed_factories, seed, seed_learning_rate)
        self.gate_tracker = GateTracker(gates)
        self.config = config
        self.seeds: dict[str, Seed] = {}
        self.reports: list[FieldReport] = []
        self.culled: dict[str, tuple[str, ...]] = {site.id: () for site in sites}
        self.germinations = {site.id: 0 for site in sites}
        self.accuracy: float | None = None

    @property
    def seed_factories(self) -> Mapping[str, SeedFactory]:
        """What can be germinated, by blueprint name, in catalogue order."""
        return self.planter.seed_factories

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites in execution order."""
        return tuple(self.slot_set.sites.values())

    def stage(self, slot: str) -> Stage:
        """The stage of a slot."""
        seed = self.seeds.get(slot)
        return Stage.DORMANT if seed is None else seed.stage

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
        self.planter.check_fit(blueprint, self._site(slot))
        if (stage := self.stage(slot)) is not Stage.DORMANT:
            raise EsperError("E403", f'slot "{slot}" is {stage.name}; only a dormant slot can be germinated')
        self.seeds[slot] = seed = Seed(
            slot=slot,
            seed_id=f"{slot}-{self.germinations[slot]}",
            blueprint=blueprint,
            blend=blend,
            ramp_epochs=ramp_epochs,
            germinated_epoch=epoch,
            accuracy_at_germination=self.accuracy,
        )
        self.germinations[slot] += 1
        self.planter.expect(seed)
        return seed.move(Stage.GERMINATED, epoch, Cause.ACTION, reason=reason, action_id=action_id)

    def cull(
        self, slot: str, epoch: int, cause: Cause = Cause.ACTION, *, action_id: str | None = None, reason: str = ""
    ) -> Transition:
        """End a live seed. It takes its tensors and optimizer state with it.

        Raises:
            EsperError: E403 if the slot holds no live seed.
        """
        seed = self._seed(slot)
        transition = seed.move(Stage.CULLED, epoch, cause, reason=reason, action_id=action_id)
        self.uproot(slot)
        self.culled[slot] = (*self.culled[slot], seed.blueprint)
        self.reports.append(seed.report(epoch, accuracy=self.accuracy))
        return transition

    def cull_failed(self, epoch: int) -> list[Transition]:
        """Cull, within `epoch`, what has failed in it, and what has been at its bound for too long."""
        why = {slot: bounded_too_long(seed, self.config) for slot, seed in self.seeds.items()}
        why |= self.slot_set.failures()
        return [self.cull(slot, epoch, Cause.SAFETY, reason=why[slot]) for slot in why if why[slot]]

    def fossilize(self, slot: str, epoch: int, *, action_id: str | None = None, reason: str = "") -> Transition:
        """Make a probationary seed that has passed G5 a permanent part of the host.

        Raises:
            EsperError: E403 if it is not probationary or G5 has not passed often enough in a row.
        """
        seed, streak = self._seed(slot), self.gate_tracker.streak(slot, Stage.PROBATIONARY)
        gates = (streak.result,) if streak is not None and streak.passed else ()
        transition = seed.move(Stage.FOSSILIZED, epoch, Cause.ACTION, reason=reason, action_id=action_id, gates=gates)
        self.slot_set.slots[slot].enter(ForwardMode.FOSSIL)
        self.gate_tracker.forget(slot)
        self.reports.append(seed.report(epoch, accuracy=self.accuracy))
        return transition

    def tick(self, epoch: int) -> list[Transition]:
        """Let time pass: everything that happens by itself before `epoch` is trained."""
        held = [name for name in self.slot_set.sites if name in self.seeds]
        transitions = [change for slot in held for change in self._advance(slot, epoch)]
        self.set_alphas(epoch, 0.0)
        return transitions

    def set_alphas(self, epoch: int, fraction: float) -> None:
        """Set the alpha of every blended seed for the point `fraction` (0 to 1) of the way through `epoch`."""
        for slot, held in self.slot_set.slots.items():
            if (seed := self.seeds[slot]).stage.contributes:
                held.set_alpha(alpha_of(seed, self.config, epoch + fraction))

    def set_position(self, step: int) -> None:
        """Tell seeds that draw random numbers which optimizer step this is."""
        for held in self.slot_set.slots.values():
            held.position = step

    def judge(self, evidence: Iterable[SeedEvidence], accuracy: float | None) -> dict[str, tuple[GateResult, ...]]:
        """Ask the gate in front of every seed's next stage; `accuracy` is the network's, on validation data."""
        self.accuracy = accuracy
        verdicts: dict[str, tuple[GateResult, ...]] = {}
        for measured in evidence:
            self._seed(measured.slot).take_in(measured)
            result = self.gate_tracker.judge(measured)
            if result is not None:
                verdicts[measured.slot] = (result,)
        return verdicts

    def evidence(self, epoch: int) -> tuple[SeedEvidence, ...]:
        """What is known of every seed without measuring, after `epoch` was trained; in site order."""
        return tuple(
            seed_evidence(seed, self.config, epoch + 1, planted=slot in self.slot_set.slots)
            for slot in self.slot_set.sites
            if (seed := self.seeds.get(slot)) is not None and seed.stage.holds_module
        )

    def states(self, epoch: int) -> tuple[SlotState, ...]:
        """Every slot as it stands before `epoch`, in site order."""
        return tuple(
            slot_state(
                site,
                seed := self.seeds.get(site.id),
                None if seed is None else self.gate_tracker.streak(site.id, seed.stage),
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
        reports = [report for report in self.reports if report.final_stage is Stage.CULLED]
        here = [seed for seed in self.seeds.values() if seed.stage.holds_module]
        reports += [seed.report(epoch, accuracy=self.accuracy) for seed in here]
        return sorted(reports, key=lambda report: (report.germinated_epoch, report.slot))

    def _advance(self, slot: str, epoch: int) -> list[Transition]:
        seed = self.seeds[slot]
        if seed.stage is Stage.GERMINATED:
            return self._advance_germinated(slot, seed, epoch)
        if seed.stage.live:
            return self._advance_live(slot, seed, epoch)
        return [] if seed.stage is Stage.FOSSILIZED else self._advance_resting(slot, seed, epoch)

    def _advance_germinated(self, slot: str, seed: Seed, epoch: int) -> list[Transition]:
        """GERMINATED: take the module in when its source delivers it, then ask G0 and G1."""
        source_error, probe_error = self.planter.take_in(seed, epoch)
        known = evolve(
            seed_evidence(seed, self.config, epoch, planted=slot in self.slot_set.slots),
            source_error=source_error,
            probe_error=probe_error,
            finite=not probe_error,
        )
        if not (known.ready or source_error or probe_error):
            return self._wait(slot, seed, epoch, self.config.training_timeout_epochs, "its module was never built")
        g0 = self.gate_tracker.ask(GateLevel.G0, known)
        # A gate set may be lenient; what is not there cannot be let through.
        missing = source_error or probe_error or ""
        if missing or not g0.passed:
            return [self.cull(slot, epoch, Cause.GATE, reason=missing if g0.passed else g0.reason)]
        g1 = self.gate_tracker.ask(GateLevel.G1, known)
        if not g1.passed:
            return self._wait(slot, seed, epoch, self.config.training_timeout_epochs, g1.reason)
        held = self.slot_set.attach(self._site(slot))
        if (forward_mode := _INCUBATED.get(self.config.incubation)) is not None:
            held.enter(forward_mode)
            return [seed.move(Stage.TRAINING, epoch, Cause.GATE, reason=g1.reason, gates=(g0, g1))]
        return [self._begin_blending(slot, seed, epoch, (g0, g1))]

    def clear(self) -> None:
        """Take every module away, and forget what was to come; for `preserving.restore_growth`."""
        for slot in self.slot_set.slots:
            self.uproot(slot)
        self.planter.clear()

    def uproot(self, slot: str) -> None:
        """Take a slot's module away without a transition."""
        self.planter.uproot(self._seed(slot))
        self.gate_tracker.forget(slot)

    def _advance_live(self, slot: str, seed: Seed, epoch: int) -> list[Transition]:
        """TRAINING, BLENDING, PROBATIONARY: go on, give up, or wait."""
        streak = self.gate_tracker.streak(slot, seed.stage)
        if streak is not None and streak.result.harmful:
            return [self.cull(slot, epoch, Cause.SAFETY, reason=streak.result.reason)]
        incubated = seed.epochs_in_stage(epoch) >= self.config.incubation_epochs
        if streak is not None and streak.passed and seed.stage is Stage.TRAINING and incubated:
            return [self._begin_blending(slot, seed, epoch, (streak.result,))]
        if streak is not None and streak.passed and seed.stage is Stage.BLENDING:
            passed = streak.result
            return [seed.move(Stage.PROBATIONARY, epoch, Cause.GATE, reason=passed.reason, gates=(passed,))]
        why = streak.missing if streak is not None else "its gate was never evaluated"
        return self._wait(slot, seed, epoch, patience(seed, self.config), why)

    def _begin_blending(self, slot: str, seed: Seed, epoch: int, gates: tuple[GateResult, ...]) -> Transition:
        isolate = not self._site(slot).causal if self.config.isolate is None else self.config.isolate
        self.slot_set.slots[slot].enter(ForwardMode.ISOLATED if isolate else ForwardMode.OPEN)
        return seed.move(Stage.BLENDING, epoch, Cause.GATE, reason=gates[-1].reason, gates=gates)

    def _advance_resting(self, slot: str, seed: Seed, epoch: int) -> list[Transition]:
        """CULLED, EMBARGOED, RESETTING, each for its time; then the slot is free."""
        rest, follows = cooldown(seed.stage, self.config)
        if seed.epochs_in_stage(epoch) < rest:
            return []
        transition = seed.move(follows, epoch, Cause.COOLDOWN)
        if seed.stage is Stage.DORMANT:
            del self.seeds[slot]
        return [transition]

    def _wait(self, slot: str, seed: Seed, epoch: int, patience: int, why: str) -> list[Transition]:
        if seed.epochs_in_stage(epoch) < patience:
            return []
        reason = f"{seed.stage.name} for {seed.epochs_in_stage(epoch)} epochs: {why}"
        return [self.cull(slot, epoch, Cause.TIMEOUT, reason=reason)]

    def _site(self, slot: str) -> Site:
        site = self.slot_set.sites.get(slot)
        if site is None:
            raise EsperError("E403", f'there is no slot "{slot}"', why=did_you_mean(slot, self.slot_set.sites))
        return site

    def _seed(self, slot: str) -> Seed:
        seed = self.seeds.get(slot)
        if seed is None:
            raise EsperError("E403", f'slot "{slot}" is dormant: it holds no seed')
        return seed
