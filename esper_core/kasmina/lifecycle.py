"""One seed's seed: the only writer of its stage."""

from collections import Counter

from attrs import define, field

from esper_core.leyline.actions import Transition
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.stages import TRANSITIONS, Blend, Cause, Stage


@define(kw_only=True)
class Seed:
    """From germination until the slot is free again.

    Epochs are host epochs from 0; a change "at epoch e" takes effect before epoch e is trained. How long a stage has
    lasted follows from the epoch; nothing is counted.

    Attributes:
        slot, seed_id, blueprint, parameters: what the seed is.
        blend: how it is blended in.
        ramp_epochs: length of its ramp; None: the lifecycle's.
        germinated_epoch: when it began.
        entered_epoch: when it entered its present stage.
        ramp_epoch: when its alpha began to rise; None before.
        accuracy_at_germination: validation accuracy of the network then, 0 to 1, if it was known.
        ablation, gain: last measured; see `FieldReport`.
        bounded_epochs: the number of epochs in a row, up to now, in which its update was bounded.
        history: every transition so far.
    """

    slot: str
    seed_id: str
    blueprint: str
    blend: Blend
    germinated_epoch: int
    ramp_epochs: int | None = None
    parameters: int = 0
    entered_epoch: int = 0
    ramp_epoch: int | None = None
    accuracy_at_germination: float | None = None
    ablation: PairedDifference | None = None
    gain: PairedDifference | None = None
    bounded_epochs: int = 0
    history: list[Transition] = field(factory=list)
    _stage: Stage = field(default=Stage.DORMANT, alias="stage")

    @property
    def stage(self) -> Stage:
        """The present stage; only `move` changes it."""
        return self._stage

    def epochs_in_stage(self, epoch: int) -> int:
        """Epochs completed in the present stage before `epoch`."""
        return epoch - self.entered_epoch

    def move(
        self,
        target: Stage,
        epoch: int,
        cause: Cause,
        *,
        reason: str = "",
        action_id: str | None = None,
        gates: tuple[GateResult, ...] = (),
    ) -> Transition:
        """Change the stage and return the transition.

        Raises:
            EsperError: E403 if the table has no such transition, or if a gate in front of it has not passed.
        """
        self._refuse_illegal(target, gates)
        transition = Transition(
            slot=self.slot,
            seed_id=self.seed_id,
            blueprint=self.blueprint,
            source=self._stage,
            target=target,
            epoch=epoch,
            epochs_in_source=self.epochs_in_stage(epoch) if self.history else 0,
            cause=cause,
            reason=reason,
            action_id=action_id,
            gates=gates,
        )
        self._stage = target
        self.entered_epoch = epoch
        if target is Stage.BLENDING:
            self.ramp_epoch = epoch
        self.history.append(transition)
        return transition

    def take_in(self, measured: SeedEvidence) -> None:
        """Remember what was measured in an epoch."""
        self.ablation = measured.contribution if measured.contribution is not None else self.ablation
        self.gain = measured.host_gain if measured.host_gain is not None else self.gain
        self.bounded_epochs = self.bounded_epochs + 1 if measured.at_its_bound else 0

    def report(self, epoch: int, *, accuracy: float | None) -> FieldReport:
        """Sum the seed up, as of before `epoch`; `accuracy` is the network's on validation data, 0 to 1."""
        spent: Counter[str] = Counter()
        for transition in self.history[1:]:
            spent[transition.source.name] += transition.epochs_in_source
        ended = self._stage in (Stage.CULLED, Stage.FOSSILIZED)
        if not ended:
            spent[self._stage.name] += self.epochs_in_stage(epoch)
        return FieldReport(
            slot=self.slot,
            seed_id=self.seed_id,
            blueprint=self.blueprint,
            parameters=self.parameters,
            germinated_epoch=self.germinated_epoch,
            ended_epoch=self.entered_epoch if ended else None,
            final_stage=self._stage,
            epochs_by_stage=dict(spent),
            reason=self.history[-1].reason if self.history else "",
            accuracy_at_germination=self.accuracy_at_germination,
            accuracy_at_end=accuracy,
            ablation=self.ablation,
            gain=self.gain,
        )

    def _refuse_illegal(self, target: Stage, gates: tuple[GateResult, ...]) -> None:
        change = f"{self._stage.name} -> {target.name}"
        if (self._stage, target) not in TRANSITIONS:
            possible = [b.name for a, b in TRANSITIONS if a is self._stage]
            raise EsperError(
                "E403",
                f"{change} is not a transition",
                where=f'slot "{self.slot}"',
                why=f"from {self._stage.name} a seed can go to: {', '.join(possible) or 'nowhere'}",
            )
        passed = {result.gate for result in gates if result.passed}
        if missing := [level for level in TRANSITIONS[self._stage, target] if level not in passed]:
            raise EsperError(
                "E403",
                f"{change} needs gate {', '.join(missing)} to pass",
                where=f'slot "{self.slot}"',
                why="; ".join(r.reason for r in gates if not r.passed) or "the gate was not evaluated",
            )
