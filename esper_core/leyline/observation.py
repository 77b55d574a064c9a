"""What a policy sees: named signals of the host and of each slot."""

from collections.abc import Iterable
from math import isfinite

from attrs import evolve, frozen

from esper_core.leyline.actions import Action, GovernorMode, Verdict
from esper_core.leyline.evidence import (
    Compute,
    EpochMetrics,
    Evidence,
    GateResult,
    PairedDifference,
    SeedEvidence,
)
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Stage

#: How many epochs of a host's figures a policy sees. What a run has to remember does not grow beyond it.
WINDOW_EPOCHS = 64


@frozen(kw_only=True)
class SlotState:
    """One slot as it stands before an epoch: what masks and observations are made of.

    Attributes:
        site: where the slot is.
        stage: its stage.
        previous_stage: the stage before it; DORMANT where there was none.
        epochs_in_stage: epochs completed in it.
        blueprint: of the seed that the slot holds; None without one.
        age_epochs: epochs since that seed's germination.
        blend: how that seed is blended in; None without one.
        ramp_epochs: length of that seed's ramp; None without one.
        alpha: present alpha.
        parameters: of the seed that the slot holds.
        settled_epochs: epochs completed since alpha reached 1.
        next_gate: the last verdict on the next transition; None if not asked in this stage.
        may_fossilize: PROBATIONARY, and G5 has passed as often in a row as it must.
        harmful: a gate has called the seed harmful.
        culled_blueprints: blueprints culled in this slot so far, oldest first.
    """

    site: Site
    stage: Stage = Stage.DORMANT
    previous_stage: Stage = Stage.DORMANT
    epochs_in_stage: int = 0
    blueprint: str | None = None
    age_epochs: int = 0
    blend: Blend | None = None
    ramp_epochs: int | None = None
    alpha: float = 0.0
    parameters: int = 0
    settled_epochs: int = 0
    next_gate: GateResult | None = None
    may_fossilize: bool = False
    harmful: bool = False
    culled_blueprints: tuple[str, ...] = ()


@frozen(kw_only=True)
class LearningCurves:
    """How a host has learned so far, in bounded space. Losses in nats, accuracies 0 to 1; what is not finite is None.

    Attributes:
        train_losses, validation_losses, train_accuracies, validation_accuracies: of the last `WINDOW_EPOCHS` epochs,
            oldest first.
        best_validation_loss, best_validation_accuracy: of all epochs, those before the window included.
        epochs_since_best: epochs completed since the one with the best validation loss.
    """

    train_losses: tuple[float | None, ...] = ()
    validation_losses: tuple[float | None, ...] = ()
    train_accuracies: tuple[float | None, ...] = ()
    validation_accuracies: tuple[float | None, ...] = ()
    best_validation_loss: float | None = None
    best_validation_accuracy: float | None = None
    epochs_since_best: int = 0

    @classmethod
    def of(cls, history: Iterable[Evidence]) -> "LearningCurves":
        """Return the curves of epochs, oldest first."""
        curves = cls()
        for evidence in history:
            curves = curves.after(evidence.train, evidence.validation)
        return curves

    def after(self, train: EpochMetrics, validation: EpochMetrics) -> "LearningCurves":
        """Return the curves after one more epoch."""
        loss, accuracy = _finite(validation.loss), _finite(validation.accuracy)
        best = self.best_validation_loss
        improved = loss is not None and (best is None or loss < best)
        return evolve(
            self,
            train_losses=_extended(self.train_losses, _finite(train.loss)),
            validation_losses=_extended(self.validation_losses, loss),
            train_accuracies=_extended(self.train_accuracies, _finite(train.accuracy)),
            validation_accuracies=_extended(self.validation_accuracies, accuracy),
            best_validation_loss=loss if improved else best,
            best_validation_accuracy=_larger(self.best_validation_accuracy, accuracy),
            epochs_since_best=0 if improved else self.epochs_since_best + 1,
        )


@frozen(kw_only=True)
class HostSignals:
    """The host after its last epoch. A measurement is None before the first epoch and where it is not finite.

    Attributes:
        epoch: the epoch that is about to begin, from 0.
        epochs: length of the run in epochs; the most that there are where it has a budget of floating-point operations.
        curves: losses and accuracies so far.
        random_guess_loss: the loss of a model that knows nothing, in nats.
        parameters: number of parameters, seeds included.
        host_parameters: number of the host's own parameters.
        governor: the governor's mode.
        twin_validation_loss: the twin's loss after the same epoch, where there is a twin.
        compute: floating-point operations of the host so far, by what they were for; None before the first epoch.
        budget_share: how much of its budget of them it has spent, from 0; None without a budget.
    """

    epoch: int
    epochs: int
    curves: LearningCurves = LearningCurves()
    random_guess_loss: float | None = None
    parameters: int = 0
    host_parameters: int = 0
    governor: GovernorMode = GovernorMode.NORMAL
    twin_validation_loss: float | None = None
    compute: Compute | None = None
    budget_share: float | None = None

    @property
    def train_loss(self) -> float | None:
        """Mean training loss per sample in the last epoch, in nats."""
        return _latest(self.curves.train_losses)

    @property
    def validation_loss(self) -> float | None:
        """Mean validation loss per sample after the last epoch, in nats."""
        return _latest(self.curves.validation_losses)

    @property
    def train_accuracy(self) -> float | None:
        """Training accuracy of the last epoch, 0 to 1."""
        return _latest(self.curves.train_accuracies)

    @property
    def validation_accuracy(self) -> float | None:
        """Validation accuracy after the last epoch, 0 to 1."""
        return _latest(self.curves.validation_accuracies)

    @property
    def progress(self) -> float:
        """The share of the run that is over, 0 to 1: of its epochs or of its budget, whichever is further on."""
        return max(self.epoch / max(1, self.epochs), min(1.0, self.budget_share or 0.0))

    @property
    def validation_loss_fall(self) -> float | None:
        """By how much the validation loss fell in the last epoch, in nats; None in the first two epochs."""
        return _difference(_latest(self.curves.validation_losses[:-1]), self.validation_loss)

    @property
    def validation_accuracy_rise(self) -> float | None:
        """By how much the validation accuracy rose in the last epoch; None in the first two epochs."""
        return _difference(self.validation_accuracy, _latest(self.curves.validation_accuracies[:-1]))

    @property
    def twin_gain(self) -> float | None:
        """The twin's validation loss minus the host's, in nats: what growing has gained so far."""
        return _difference(self.twin_validation_loss, self.validation_loss)

    @property
    def growth_ratio(self) -> float:
        """Parameters added by seeds over the host's own."""
        return (self.parameters - self.host_parameters) / max(1, self.host_parameters)


@frozen(kw_only=True)
class SlotSignals:
    """One slot: how it stands, what was measured of its seed, and what came of the last command.

    Attributes:
        state: the slot before the epoch that is about to begin.
        evidence: what the last epoch showed of the seed that the slot holds; None without one, and for a seed that is
            younger than that epoch. Figures that were not finite are None.
        command: what the policy last asked of this slot, if that was one epoch ago.
        verdict: the governor's answer to it.
    """

    state: SlotState
    evidence: SeedEvidence | None = None
    command: Action | None = None
    verdict: Verdict | None = None

    @property
    def slot(self) -> str:
        """Site id."""
        return self.state.site.id

    @property
    def gradient_ratio(self) -> float | None:
        """As in `SeedEvidence`; None if it was not measured or not finite."""
        return self.evidence.gradient_ratio if self.evidence is not None else None

    @property
    def update_ratio(self) -> float | None:
        """As in `SeedEvidence`; None if it was not measured or not finite."""
        return self.evidence.update_ratio if self.evidence is not None else None

    @property
    def probe(self) -> PairedDifference | None:
        """As in `SeedEvidence`; None if it was not measured or not finite."""
        return self.evidence.probe if self.evidence is not None else None

    @property
    def contribution(self) -> PairedDifference | None:
        """As in `SeedEvidence`; None if it was not measured or not finite."""
        return self.evidence.contribution if self.evidence is not None else None


@frozen(kw_only=True)
class Observation:
    """Everything a policy may base one decision on. `slots` are in site order."""

    host: HostSignals
    slots: tuple[SlotSignals, ...]

    @property
    def live_seeds(self) -> int:
        """How many seeds are live."""
        return sum(slot.state.stage.live for slot in self.slots)

    @property
    def dormant_slots(self) -> int:
        """How many slots are free."""
        return sum(slot.state.stage is Stage.DORMANT for slot in self.slots)


def _extended(curve: tuple[float | None, ...], value: float | None) -> tuple[float | None, ...]:
    return (*curve, value)[-WINDOW_EPOCHS:]


def _latest(curve: tuple[float | None, ...]) -> float | None:
    return curve[-1] if curve else None


def _larger(first: float | None, second: float | None) -> float | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
